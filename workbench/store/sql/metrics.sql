CREATE OR REPLACE VIEW metrics AS
WITH resumed AS MATERIALIZED (FROM live.metrics_resumed),
newest AS (SELECT run_id, split, step, name, max(attempt) AS attempt FROM resumed GROUP BY ALL)
SELECT m.run_id, m.attempt, m.step, m.split, m.name, m.value, m.time
FROM (
    FROM archive.metrics
    UNION ALL BY NAME FROM live.metrics_first
    UNION ALL BY NAME FROM resumed
) AS m
LEFT JOIN newest USING (run_id, split, step, name)
ANTI JOIN deleted_runs AS deleted USING (run_id)
WHERE newest.attempt IS NULL OR m.attempt >= newest.attempt;
COMMENT ON VIEW metrics IS 'Long table of everything measured at a step';
