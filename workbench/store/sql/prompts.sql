-- Each prompt of each run once, with how often and when it was sampled.
CREATE OR REPLACE VIEW prompts AS
SELECT
    run_id, split, prompt_id,
    any_value(kind) AS kind,
    any_value(prompt) AS prompt,
    count(*) AS completions,
    min(step) AS first_step,
    max(step) AS last_step
FROM rollouts
GROUP BY run_id, split, prompt_id;
COMMENT ON VIEW prompts IS 'One row a prompt of a run';
COMMENT ON COLUMN prompts.completions IS 'Completions sampled for the prompt in this run';
COMMENT ON COLUMN prompts.first_step IS 'First step that sampled the prompt';
COMMENT ON COLUMN prompts.last_step IS 'Last step that sampled the prompt';
