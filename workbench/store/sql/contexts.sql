-- Hidden states stay in segments of their own: retention deletes them file by file.
CREATE OR REPLACE VIEW contexts AS
SELECT c.run_id, c.attempt, c.step, c.split, c.group_id, c.sample, c.context
FROM live.contexts AS c
LEFT JOIN live.contexts_resumed AS newer USING (run_id, split, step)
ANTI JOIN deleted_runs AS deleted USING (run_id)
WHERE newer.attempt IS NULL OR c.attempt >= newer.attempt;
COMMENT ON VIEW contexts IS 'Terminal hidden states, one row a completion: what the Conductor read';
