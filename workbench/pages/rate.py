from workbench.pages.page import Page, html


def build(wb):
    out = html("rate-main")
    return Page("rate", [out], lambda wb, view, changed: ["rate"])
