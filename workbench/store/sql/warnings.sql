CREATE OR REPLACE VIEW warnings AS
SELECT w.run_id, w.attempt, w.step, w.code, w.message, w.advice, w.time
FROM (FROM archive.warnings UNION ALL BY NAME FROM live.warnings) AS w
ANTI JOIN deleted_runs AS deleted USING (run_id);
COMMENT ON VIEW warnings IS 'What the diagnostics of a run had to say';
