CREATE OR REPLACE VIEW evaluations AS
WITH resumed AS MATERIALIZED (FROM live.evaluations_resumed),
newest AS (SELECT run_id, phase, step, max(attempt) AS attempt FROM resumed GROUP BY ALL),
everything AS (
    SELECT archived.* EXCLUDE (prompt_key), texts.text AS prompt
    FROM archive.evaluations AS archived
    LEFT JOIN archive.texts AS texts ON texts.text_key = archived.prompt_key
    UNION ALL BY NAME
    FROM live.evaluations_first
    UNION ALL BY NAME
    FROM resumed
)
SELECT
    e.run_id, e.attempt, e.step, e.phase, e.split, e.kind, e.prompt_id, e.prompt, e.reference,
    e.sample, e.completion, e.num_tokens, e.truncated, e.rewards, e.weights, e.judge, e.time
FROM everything AS e
LEFT JOIN newest USING (run_id, phase, step)
ANTI JOIN deleted_runs AS deleted USING (run_id)
WHERE newest.attempt IS NULL OR e.attempt >= newest.attempt;
COMMENT ON VIEW evaluations IS 'One row a completion of an evaluation';
