// Calls the server with the AWS SDK for JavaScript as its documentation shows.
// The environment names the endpoint, the region, the credentials and the node.
import assert from 'node:assert/strict'
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import {
  DescribeInstanceInformationCommand,
  SSMClient,
  StartSessionCommand,
  TerminateSessionCommand,
} from '@aws-sdk/client-ssm'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'

const endpoint = process.env.AWS_ENDPOINT_URL
const target = process.env.SEKISHO_TARGET
const bucket = process.argv[2]

const ssm = new SSMClient({ endpoint })
const nodes = await ssm.send(
  new DescribeInstanceInformationCommand({ Filters: [{ Key: 'InstanceIds', Values: [target] }] }),
)
assert.equal(nodes.InstanceInformationList[0].PingStatus, 'Online')
const session = await ssm.send(new StartSessionCommand({ Target: target }))
assert.match(session.StreamUrl, /^wss:/)
const ended = await ssm.send(new TerminateSessionCommand({ SessionId: session.SessionId }))
assert.equal(ended.SessionId, session.SessionId)
await assert.rejects(ssm.send(new StartSessionCommand({ Target: 'mi-00000000000000000' })), {
  name: 'TargetNotConnected',
})

const s3 = new S3Client({ endpoint, forcePathStyle: true })
await s3.send(new CreateBucketCommand({ Bucket: bucket }))
await s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'a/b c', Body: 'hello' }))
const object = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: 'a/b c' }))
assert.equal(await object.Body.transformToString(), 'hello')
const url = await getSignedUrl(s3, new GetObjectCommand({ Bucket: bucket, Key: 'a/b c' }), { expiresIn: 60 })
assert.equal(await (await fetch(url)).text(), 'hello')
const upload = await getSignedUrl(s3, new PutObjectCommand({ Bucket: bucket, Key: 'put' }), { expiresIn: 60 })
assert.equal((await fetch(upload, { method: 'PUT', body: 'again' })).status, 200)
console.info('all well')
