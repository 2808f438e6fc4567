-- What each run says of itself in run.json and state.json; whether its process lives is not here.
CREATE OR REPLACE VIEW runs AS
WITH known AS (
    SELECT run_id, identity, state FROM live.runs
    UNION ALL
    SELECT a.run_id, a.identity, a.state FROM archive.runs AS a ANTI JOIN live.runs USING (run_id)
)
SELECT
    k.run_id,
    coalesce(k.identity->>'name', k.run_id) AS name,
    coalesce(k.state->>'status', 'queued') AS status,
    coalesce(k.identity->>'kind', 'maestro') AS kind,
    TRY_CAST(k.identity->>'created' AS DOUBLE) AS created,
    coalesce(TRY_CAST(k.state->>'step' AS INTEGER), 0) AS step,
    TRY_CAST(k.state->>'steps' AS INTEGER) AS steps,
    TRY_CAST(k.state->>'heartbeat' AS DOUBLE) AS heartbeat,
    TRY_CAST(k.state->>'attempt' AS INTEGER) AS attempt,
    k.state->>'phase' AS phase,
    k.state->>'message' AS message,
    TRY_CAST(k.state->>'eta_seconds' AS DOUBLE) AS eta_seconds,
    TRY_CAST(k.state->>'steps_per_second' AS DOUBLE) AS steps_per_second,
    TRY_CAST(k.state->>'headline' AS DOUBLE) AS headline,
    k.identity->>'parent' AS parent,
    TRY_CAST(k.identity->>'seed' AS BIGINT) AS seed,
    k.identity->>'$.summary.task' AS task,
    k.identity->>'$.summary.policy' AS policy,
    k.identity->>'$.summary.scalarizer' AS scalarizer,
    TRY_CAST(k.identity->'$.summary.objectives' AS VARCHAR[]) AS objectives,
    CAST(k.identity->'versions' AS VARCHAR) AS versions,
    CAST(k.identity->'git' AS VARCHAR) AS git
FROM known AS k
ANTI JOIN deleted_runs AS deleted USING (run_id);
COMMENT ON VIEW runs IS 'One row a run: identity, last published state and heartbeat';
COMMENT ON COLUMN runs.name IS 'Name of the run, unique in its runs directory';
COMMENT ON COLUMN runs.status IS 'queued, starting, running, stopping, stopped, finished or failed, as last published';
COMMENT ON COLUMN runs.kind IS 'maestro: trained on rollouts; offline: on logged rows; imported';
COMMENT ON COLUMN runs.created IS 'When the run was created, in seconds since 1970 (UTC)';
COMMENT ON COLUMN runs.step IS 'Policy updates done';
COMMENT ON COLUMN runs.steps IS 'Policy updates planned';
COMMENT ON COLUMN runs.heartbeat IS 'When the run last published its state, in seconds since 1970';
COMMENT ON COLUMN runs.attempt IS 'Which start of the run this is';
COMMENT ON COLUMN runs.phase IS 'What the run is doing';
COMMENT ON COLUMN runs.message IS 'Why the run ended, or what it wants to be known';
COMMENT ON COLUMN runs.eta_seconds IS 'Estimated time to the end, in seconds';
COMMENT ON COLUMN runs.steps_per_second IS 'Policy updates per second, recently';
COMMENT ON COLUMN runs.headline IS 'Headline score: the held-out judge mean where there is a judge';
COMMENT ON COLUMN runs.parent IS 'The run that this one was duplicated or continued from';
COMMENT ON COLUMN runs.seed IS 'Seed of the run';
COMMENT ON COLUMN runs.task IS 'Name of the task';
COMMENT ON COLUMN runs.policy IS 'The model that is trained';
COMMENT ON COLUMN runs.scalarizer IS 'Who chooses the weights';
COMMENT ON COLUMN runs.objectives IS 'Names of the objectives, in order';
COMMENT ON COLUMN runs.versions IS 'Versions of the libraries, as JSON';
COMMENT ON COLUMN runs.git IS 'State of the source tree, as JSON';
