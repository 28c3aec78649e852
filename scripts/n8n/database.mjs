// node database.mjs executions|unregistered DATABASE: what n8n's sqlite database says, without n8n.
//   executions    one JSON object a line, oldest first
//   unregistered  the active workflows whose webhooks n8n does not answer yet: it takes them over some time after
//                 it has said that it is up
import { DatabaseSync } from 'node:sqlite';

const questions = {
  executions: `SELECT id, "workflowId" AS workflow, status, mode, "startedAt" AS started, "stoppedAt" AS stopped
    FROM execution_entity ORDER BY id`,
  unregistered: `SELECT id AS workflow FROM workflow_entity w
    WHERE "activeVersionId" IS NOT NULL AND nodes LIKE '%"n8n-nodes-base.webhook"%'
    AND NOT EXISTS (SELECT 1 FROM webhook_entity h WHERE h."workflowId" = w.id)`,
};

const [verb, file] = process.argv.slice(2);
const database = new DatabaseSync(file, { readOnly: true });
for (const row of database.prepare(questions[verb]).all()) console.log(JSON.stringify(row));
