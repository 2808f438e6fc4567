-- Hidden states stay in segments of their own: retention deletes them file by file.
CREATE OR REPLACE VIEW contexts AS
WITH resumed AS MATERIALIZED (FROM live.contexts_resumed),
newest AS (SELECT run_id, split, step, max(attempt) AS attempt FROM resumed GROUP BY ALL)
SELECT c.run_id, c.attempt, c.step, c.split, c.group_id, c.sample, c.context
FROM (FROM live.contexts_first UNION ALL BY NAME FROM resumed) AS c
LEFT JOIN newest USING (run_id, split, step)
ANTI JOIN deleted_runs AS deleted USING (run_id)
WHERE newest.attempt IS NULL OR c.attempt >= newest.attempt;
COMMENT ON VIEW contexts IS 'Terminal hidden states, one row a completion: what the Conductor read';
