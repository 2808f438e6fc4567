from workbench.pages.page import Page, html


def build(wb):
    out = html("compare-main")
    return Page("compare", [out], lambda wb, view, changed: ["compare"])
