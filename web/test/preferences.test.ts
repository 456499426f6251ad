import { describe, expect, it } from 'vitest'
import { CallError } from '../src/api'
import { contentOf, differences, formOf, mistakes, remediesFor } from '../src/preferences'

const saved = JSON.stringify({
  schemaVersion: '1.0',
  description: 'Ours',
  sessionType: 'Standard_Stream',
  inputs: {
    s3BucketName: 'logs',
    s3EncryptionEnabled: true,
    idleSessionTimeout: '30',
    shellProfile: { linux: 'cd /tmp', windows: 'cd \\' },
    sekisho: { reasonRequired: true, friendlyPrompt: false, maxConcurrentSessions: { perOwner: 2 }, future: { a: 1 } },
    unknown: 'kept',
  },
})

describe('preferences', () => {
  it('are the defaults until some are saved', () => {
    const f = formOf(null)
    expect(f.friendlyPrompt).toBe('auto')
    expect(f.recordInput).toBe(true)
    expect(f.bucket).toBe('')
    expect(JSON.parse(contentOf(f, null))).toEqual({
      schemaVersion: '1.0',
      description: 'Session preferences of the account',
      sessionType: 'Standard_Stream',
      inputs: {},
    })
  })

  it('are unchanged when nothing is edited', () => {
    expect(JSON.parse(contentOf(formOf(saved), saved))).toEqual(JSON.parse(saved))
    expect(differences(saved, contentOf(formOf(saved), saved))).toEqual([])
  })

  it('are written to the document, whose unknown members stay', () => {
    const f = {
      ...formOf(saved),
      bucket: '',
      prefix: 'p',
      group: 'g',
      streaming: true,
      loginShell: 'on' as const,
      recordInput: false,
      recordForwards: true,
      recordingDays: '90',
      perOwner: '',
      perNode: '3',
      profileLinux: '',
    }
    const doc = JSON.parse(contentOf(f, saved)) as { inputs: Record<string, unknown> }
    expect(doc.inputs).toEqual({
      s3KeyPrefix: 'p',
      idleSessionTimeout: '30',
      cloudWatchLogGroupName: 'g',
      cloudWatchStreamingEnabled: true,
      shellProfile: { windows: 'cd \\' },
      sekisho: {
        reasonRequired: true,
        friendlyPrompt: false,
        loginShell: true,
        recordInput: false,
        recordForwards: true,
        recordingDays: 90,
        maxConcurrentSessions: { perNode: 3 },
        future: { a: 1 },
      },
      unknown: 'kept',
    })
  })

  it('are validated', () => {
    expect(mistakes(formOf(saved))).toEqual({})
    const f = {
      ...formOf(null),
      idleMinutes: '61',
      maxMinutes: 'x',
      perNode: '0',
      recordingDays: '0',
      runAsUser: 'root',
      requireServerRecording: true,
      kmsKey: 'alias/k',
    }
    expect(Object.keys(mistakes(f)).toSorted()).toEqual([
      'idleMinutes',
      'maxMinutes',
      'perNode',
      'recordingDays',
      'requireServerRecording',
      'runAsUser',
    ])
  })

  it('are compared by setting', () => {
    const after = contentOf(
      { ...formOf(saved), bucket: 'other', reasonRequired: false, banner: 'Mind\nthe gap' },
      saved,
    )
    expect(differences(saved, after)).toEqual([
      { setting: 's3BucketName', before: 'logs', after: 'other' },
      { setting: 'sekisho.reasonRequired', before: 'true', after: '' },
      { setting: 'sekisho.banner', before: '', after: 'Mind\nthe gap' },
    ])
    expect(differences(null, '{"inputs":{"a":1}}')).toEqual([{ setting: 'a', before: '', after: '1' }])
  })

  it('have remedies when they are refused', () => {
    const refused = (reason: string) =>
      remediesFor(new CallError('InvalidDocumentContent', 'Refused.', 400, '', reason))
    expect(refused('BucketMissing')).toEqual(['createBucket', 'clearBucket'])
    expect(refused('LogGroupMissing')).toEqual(['createGroup', 'clearGroup'])
    expect(refused('LogGroupNotEncrypted')).toEqual(['encryptGroup', 'clearGroupEncryption'])
    expect(refused('')).toEqual([])
    expect(remediesFor(new Error('The bucket "x" of s3BucketName does not exist.'))).toEqual([])
  })
})
