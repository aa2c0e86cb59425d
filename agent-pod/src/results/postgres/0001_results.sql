-- A row a document: its last execution.
CREATE TABLE docket_results (
    key text PRIMARY KEY,
    pipeline text NOT NULL,
    tenant text NOT NULL,
    document text NOT NULL,
    source text NOT NULL,
    outcome text NOT NULL,
    output jsonb,
    citations jsonb NOT NULL,
    degraded jsonb NOT NULL,
    quality double precision,
    anomaly double precision,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    cost double precision,
    seconds double precision NOT NULL,
    plan text NOT NULL,
    epoch bigint NOT NULL,
    submitted_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    nul_replaced boolean NOT NULL,
    audit text CHECK (audit IN ('pending', 'approved', 'rejected')),
    audited_by text,
    audited_at timestamptz,
    audit_comment text
);
CREATE INDEX docket_results_pending_audits ON docket_results (pipeline, ended_at, key) WHERE audit = 'pending';
CREATE INDEX docket_results_tenants ON docket_results (tenant, pipeline);
CREATE INDEX docket_results_ended_at ON docket_results USING brin (ended_at);

-- What a person is to look at; docket approve settles it.
CREATE VIEW docket_pending_audits AS
    SELECT key, pipeline, tenant, document, source, anomaly, output, ended_at
    FROM docket_results WHERE audit = 'pending';

-- What happened, in the order in which it was written down; rows are added only, and erased with their document or tenant.
CREATE TABLE docket_audit_log (
    number bigint GENERATED ALWAYS AS IDENTITY,
    key text PRIMARY KEY,
    at timestamptz NOT NULL,
    event text NOT NULL,
    pipeline text NOT NULL,
    tenant text NOT NULL,
    document text NOT NULL,
    stage text,
    who text,
    comment text,
    detail jsonb
);
CREATE INDEX docket_audit_log_tenants ON docket_audit_log (tenant, pipeline);
CREATE INDEX docket_audit_log_at ON docket_audit_log USING brin (at);
