// Calls the server with the AWS SDK for JavaScript as its documentation shows.
// The environment names the endpoint, the region, the credentials and the node.
import assert from 'node:assert/strict'
import {
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
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

// Uploads in parts, with each checksum that the SDK computes. It checks the checksum of what it reads as well.
const parts = [Buffer.alloc(5 << 20, 'a'), Buffer.from('the end')]
for (const ChecksumAlgorithm of ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256']) {
  const at = { Bucket: bucket, Key: `in parts ${ChecksumAlgorithm}` }
  const field = `Checksum${ChecksumAlgorithm}`
  const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ ...at, ChecksumAlgorithm }))
  const Parts = []
  for (const [i, Body] of parts.entries()) {
    const PartNumber = i + 1
    const part = await s3.send(new UploadPartCommand({ ...at, UploadId, PartNumber, Body, ChecksumAlgorithm }))
    assert.ok(part[field], `the part has no ${field}`)
    Parts.push({ PartNumber, ETag: part.ETag, [field]: part[field] })
  }
  const wrong = Parts.map((part) => ({ ...part, [field]: Parts[0][field] }))
  await assert.rejects(
    s3.send(new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload: { Parts: wrong } })),
    { name: 'InvalidPart' },
  )
  await s3.send(new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload: { Parts } }))
  const read = await s3.send(new GetObjectCommand({ ...at, ChecksumMode: 'ENABLED' }))
  assert.equal((await read.Body.transformToByteArray()).length, parts[0].length + parts[1].length)
  const { Checksum } = await s3.send(new GetObjectAttributesCommand({ ...at, ObjectAttributes: ['Checksum'] }))
  assert.ok(Checksum[field], `the object has no ${field}`)
}
console.info('all well')
