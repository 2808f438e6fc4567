CREATE OR REPLACE VIEW evaluations AS
WITH everything AS (
    SELECT archived.* EXCLUDE (prompt_key), texts.text AS prompt
    FROM archive.evaluations AS archived
    LEFT JOIN archive.texts AS texts ON texts.text_key = archived.prompt_key
    UNION ALL BY NAME
    SELECT * FROM live.evaluations
)
SELECT
    e.run_id, e.attempt, e.step, e.phase, e.split, e.kind, e.prompt_id, e.prompt, e.reference,
    e.sample, e.completion, e.num_tokens, e.truncated, e.rewards, e.weights, e.judge, e.time
FROM everything AS e
LEFT JOIN live.evaluations_resumed AS newer USING (run_id, phase, step)
ANTI JOIN deleted_runs AS deleted USING (run_id)
WHERE newer.attempt IS NULL OR e.attempt >= newer.attempt;
COMMENT ON VIEW evaluations IS 'One row a completion of an evaluation';
