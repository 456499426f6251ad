// What an error means, in the chosen language: by the reason or the code that the server sends. An
// error that the catalogue does not know keeps the server's own sentence.

import { CallError } from './api'
import { t, type PlainKey } from './i18n'

/** BY_REASON are the texts of the server's reasons. */
const BY_REASON: Record<string, PlainKey> = {
  SecondFactorRequired: 'refusal.SecondFactorRequired',
  BucketMissing: 'refusal.BucketMissing',
  LogGroupMissing: 'refusal.LogGroupMissing',
  LogGroupNotEncrypted: 'refusal.LogGroupNotEncrypted',
  RecordingLinkUnknown: 'refusal.RecordingLinkUnknown',
  RecordingLinkExpired: 'refusal.RecordingLinkExpired',
  RecordingLinkRevoked: 'refusal.RecordingLinkRevoked',
}

/** BY_CODE are the texts of error codes that mean the same in every service. */
const BY_CODE: Record<string, PlainKey> = {
  AccessDenied: 'refusal.AccessDenied',
  AccessDeniedException: 'refusal.AccessDenied',
  UnauthorizedOperation: 'refusal.AccessDenied',
  TargetNotConnected: 'refusal.TargetNotConnected',
  ThrottlingException: 'refusal.Throttling',
  Throttling: 'refusal.Throttling',
  ExpiredToken: 'refusal.ExpiredToken',
  ExpiredTokenException: 'refusal.ExpiredToken',
  NoSuchEntity: 'refusal.NotFound',
  ResourceNotFoundException: 'refusal.NotFound',
  DoesNotExistException: 'refusal.NotFound',
  NotFoundException: 'refusal.NotFound',
  InvalidDocument: 'refusal.NotFound',
  NoSuchBucket: 'refusal.NotFound',
  NoSuchKey: 'refusal.NotFound',
  EntityAlreadyExists: 'refusal.AlreadyExists',
  DocumentAlreadyExists: 'refusal.AlreadyExists',
  ResourceAlreadyExistsException: 'refusal.AlreadyExists',
  AlreadyExistsException: 'refusal.AlreadyExists',
  BucketAlreadyOwnedByYou: 'refusal.AlreadyExists',
  DeleteConflict: 'refusal.DeleteConflict',
  LimitExceeded: 'refusal.LimitExceeded',
  LimitExceededException: 'refusal.LimitExceeded',
  MalformedPolicyDocument: 'refusal.MalformedPolicyDocument',
  PasswordPolicyViolation: 'refusal.PasswordPolicyViolation',
  ValidationError: 'refusal.Invalid',
  ValidationException: 'refusal.Invalid',
  InvalidParameters: 'refusal.Invalid',
  InvalidInput: 'refusal.Invalid',
  InternalServerError: 'refusal.Internal',
  InternalFailure: 'refusal.Internal',
  InternalError: 'refusal.Internal',
  ServiceFailure: 'refusal.Internal',
  ServiceUnavailable: 'refusal.Internal',
}

/** knownText is the catalogue's text for an error; null if it has none. */
export function knownText(error: unknown): string | null {
  if (!(error instanceof CallError)) return null
  const key = BY_REASON[error.reason] ?? BY_CODE[error.code]
  return key === undefined ? null : t(key)
}

/** serverText is the sentence that came with an error. */
export const serverText = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** errorText is one sentence about an error. */
export const errorText = (error: unknown): string => knownText(error) ?? serverText(error)
