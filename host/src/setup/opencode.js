// workmux: reports what this agent does. Made by 'workmux setup', removed by 'workmux setup --remove opencode'.
import { spawn } from "node:child_process"

// One after the other, so that the last word is the last one said. Nothing here may disturb the agent.
let turn = Promise.resolve()
let last
function tell(status) {
  // It says that it is busy with each step.
  if (status === last) return
  last = status
  const run = () =>
    new Promise((resolve) => {
      const child = spawn("workmux", ["set-window-status", status], { stdio: "ignore" })
      child.once("error", resolve)
      child.once("close", resolve)
    })
  turn = turn.then(run).catch(() => {})
}

// Sessions that another one started: their end is not the agent's.
const inner = new Set()

function heard(type, about) {
  const info = about.info ?? about
  if (type === "session.created" && info.parentID) inner.add(about.sessionID ?? info.id)
  const own = !inner.has(about.sessionID)
  switch (type) {
    case "session.status":
      if (own && about.status?.type === "busy") tell("working")
      break
    case "session.execution.started":
      if (own) tell("working")
      break
    case "permission.replied":
    case "question.replied":
    case "question.rejected":
    case "form.replied":
      tell("working")
      break
    case "permission.asked":
    case "permission.updated":
    case "question.asked":
    case "form.created":
      tell("waiting")
      break
    case "session.idle":
    case "session.execution.succeeded":
    case "session.execution.failed":
    case "session.execution.interrupted":
      if (own) tell("done")
      break
  }
}

export default {
  id: "workmux-status",
  // Version 1.
  server: async () => ({
    event: async ({ event }) => heard(event.type, event.properties ?? {}),
  }),
  // Version 2.
  setup: (context) => {
    const listen = async () => {
      for await (const event of context.event.subscribe()) heard(event.type, event.data ?? {})
    }
    listen().catch(() => {})
  },
}
