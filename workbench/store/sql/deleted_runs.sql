CREATE OR REPLACE VIEW deleted_runs AS
SELECT DISTINCT run_id FROM (FROM archive.deletions UNION ALL BY NAME FROM live.deletions);
COMMENT ON VIEW deleted_runs IS 'Runs that were deleted and are hidden from every other view';
