CREATE OR REPLACE VIEW metrics AS
SELECT m.run_id, m.attempt, m.step, m.split, m.name, m.value, m.time
FROM (FROM archive.metrics UNION ALL BY NAME FROM live.metrics) AS m
LEFT JOIN live.metrics_resumed AS newer USING (run_id, split, step, name)
ANTI JOIN deleted_runs AS deleted USING (run_id)
WHERE newer.attempt IS NULL OR m.attempt >= newer.attempt;
COMMENT ON VIEW metrics IS 'Long table of everything measured at a step';
