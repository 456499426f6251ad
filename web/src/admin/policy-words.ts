// What can be completed in a policy document: names of actions, elements of a statement, operators
// and condition keys.

/** ACTIONS are the actions by service. A test compares them with the server's operations. */
const ACTIONS: Record<string, string> = {
  ssm: 'AddTagsToResource CancelCommand CreateActivation CreateDocument DeleteActivation DeleteDocument DeregisterManagedInstance DescribeActivations DescribeAssociation DescribeDocument DescribeDocumentPermission DescribeInstanceInformation DescribeInstanceProperties DescribeSessions GetAccessToken GetCommandInvocation GetConnectionStatus GetDocument GetInventory GetInventorySchema GetManifest GetParameters GetServiceSetting ListAssociations ListCommandInvocations ListCommands ListDocumentVersions ListDocuments ListInstanceAssociations ListInventoryEntries ListNodes ListNodesSummary ListTagsForResource ModifyDocumentPermission PutComplianceItems PutInventory RegisterManagedInstance RemoveTagsFromResource RequestManagedInstanceRoleToken ResetServiceSetting ResumeSession SendCommand StartAccessRequest StartSession TerminateSession UpdateDocument UpdateDocumentDefaultVersion UpdateInstanceAssociationStatus UpdateInstanceInformation UpdateManagedInstancePublicKey UpdateManagedInstanceRole UpdateServiceSetting',
  ssmmessages: 'CreateControlChannel CreateDataChannel OpenControlChannel OpenDataChannel',
  ec2messages: 'AcknowledgeMessage DeleteMessage FailMessage GetMessages SendReply',
  sts: 'AssumeRole AssumeRoleWithSAML AssumeRoleWithWebIdentity GetAccessKeyInfo GetCallerIdentity GetFederationToken GetSessionToken',
  iam: 'AddClientIDToOpenIDConnectProvider AddRoleToInstanceProfile AddUserToGroup AttachGroupPolicy AttachRolePolicy AttachUserPolicy ChangePassword CreateAccessKey CreateAccountAlias CreateGroup CreateInstanceProfile CreateLoginProfile CreateOpenIDConnectProvider CreatePolicy CreatePolicyVersion CreateRole CreateUser CreateVirtualMFADevice DeactivateMFADevice DeleteAccessKey DeleteAccountAlias DeleteAccountPasswordPolicy DeleteGroup DeleteGroupPolicy DeleteInstanceProfile DeleteLoginProfile DeleteOpenIDConnectProvider DeletePolicy DeletePolicyVersion DeleteRole DeleteRolePermissionsBoundary DeleteRolePolicy DeleteUser DeleteUserPermissionsBoundary DeleteUserPolicy DeleteVirtualMFADevice DetachGroupPolicy DetachRolePolicy DetachUserPolicy EnableMFADevice GetAccessKeyLastUsed GetAccountAuthorizationDetails GetAccountPasswordPolicy GetAccountSummary GetContextKeysForCustomPolicy GetContextKeysForPrincipalPolicy GetGroup GetGroupPolicy GetInstanceProfile GetLoginProfile GetMFADevice GetOpenIDConnectProvider GetPolicy GetPolicyVersion GetRole GetRolePolicy GetUser GetUserPolicy ListAccessKeys ListAccountAliases ListAttachedGroupPolicies ListAttachedRolePolicies ListAttachedUserPolicies ListEntitiesForPolicy ListGroupPolicies ListGroups ListGroupsForUser ListInstanceProfileTags ListInstanceProfiles ListInstanceProfilesForRole ListMFADeviceTags ListMFADevices ListOpenIDConnectProviderTags ListOpenIDConnectProviders ListPolicies ListPolicyTags ListPolicyVersions ListRolePolicies ListRoleTags ListRoles ListSSHPublicKeys ListServiceSpecificCredentials ListSigningCertificates ListUserPolicies ListUserTags ListUsers ListVirtualMFADevices PassRole PutGroupPolicy PutRolePermissionsBoundary PutRolePolicy PutUserPermissionsBoundary PutUserPolicy RemoveClientIDFromOpenIDConnectProvider RemoveRoleFromInstanceProfile RemoveUserFromGroup ResyncMFADevice SetDefaultPolicyVersion SimulateCustomPolicy SimulatePrincipalPolicy TagInstanceProfile TagMFADevice TagOpenIDConnectProvider TagPolicy TagRole TagUser UntagInstanceProfile UntagMFADevice UntagOpenIDConnectProvider UntagPolicy UntagRole UntagUser UpdateAccessKey UpdateAccountPasswordPolicy UpdateAssumeRolePolicy UpdateGroup UpdateLoginProfile UpdateOpenIDConnectProviderThumbprint UpdateRole UpdateRoleDescription UpdateUser',
  s3: 'AbortMultipartUpload CreateBucket DeleteBucket DeleteBucketPolicy DeleteObject DeleteObjectVersion GetAccelerateConfiguration GetBucketAcl GetBucketCORS GetBucketLocation GetBucketLogging GetBucketNotification GetBucketObjectLockConfiguration GetBucketOwnershipControls GetBucketPolicy GetBucketPolicyStatus GetBucketPublicAccessBlock GetBucketRequestPayment GetBucketTagging GetBucketVersioning GetBucketWebsite GetEncryptionConfiguration GetLifecycleConfiguration GetObject GetObjectAcl GetObjectAttributes GetObjectVersion GetObjectVersionAcl GetObjectVersionAttributes GetReplicationConfiguration ListAllMyBuckets ListBucket ListBucketMultipartUploads ListBucketVersions ListMultipartUploadParts PutBucketOwnershipControls PutBucketPolicy PutBucketPublicAccessBlock PutBucketTagging PutBucketVersioning PutEncryptionConfiguration PutLifecycleConfiguration PutObject PutObjectTagging',
  logs: 'AssociateKmsKey CreateLogGroup CreateLogStream DeleteLogGroup DeleteLogStream DeleteRetentionPolicy DescribeLogGroups DescribeLogStreams DisassociateKmsKey FilterLogEvents GetLogEvents ListLogGroups ListTagsForResource ListTagsLogGroup PutLogEvents PutRetentionPolicy TagLogGroup TagResource UntagLogGroup UntagResource',
  kms: 'CancelKeyDeletion CreateAlias CreateGrant CreateKey Decrypt DeleteAlias DescribeKey DisableKey DisableKeyRotation EnableKey EnableKeyRotation Encrypt GenerateDataKey GenerateDataKeyWithoutPlaintext GenerateRandom GetKeyPolicy GetKeyRotationStatus ListAliases ListGrants ListKeyPolicies ListKeys ListResourceTags ListRetirableGrants PutKeyPolicy ReEncrypt RetireGrant RevokeGrant ScheduleKeyDeletion TagResource UntagResource UpdateAlias UpdateKeyDescription',
  cloudtrail: 'LookupEvents',
  cur: 'DeleteReportDefinition DescribeReportDefinitions PutReportDefinition',
  ec2: 'AssociateIamInstanceProfile CreateTags DeleteTags DescribeAccountAttributes DescribeAvailabilityZones DescribeIamInstanceProfileAssociations DescribeInstanceStatus DescribeInstances DescribeRegions DescribeTags DisassociateIamInstanceProfile ReplaceIamInstanceProfileAssociation',
  sekisho:
    'ApplyQuickSetup ApproveAccessRequest ApproveNodeIdentity BeginPasskeyRegistration BuildPolicy CheckSessionStart CreateInstallCommand DeleteAccessRule DeleteCalendar DescribeMyAccess DescribeQuickSetup ExplainAccess FinishFirstRun GetCalendar GetHealth GetIntegrity GetRecordingStorage GetResumeToken GetSessionEvidence GetSessionRecording GetSharedRecording GetUsage GrantAccess HoldSessionRecording JoinSession LeaveSession ListAccessRequests ListAccessRules ListCalendars ListClusterMembers ListEvents ListMyAccess ListNodeAccess ListPasskeys ListPrincipalAccess ListRecordingLinks ListSeenMachines ListSessionParticipants ListWebhooks PutAccessRule PutCalendar RegisterPasskey RejectAccessRequest ReleaseSessionRecording ResumeSessionByToken RevokeAccessRequest RevokeRecordingLink SearchSessionRecordings SendSessionInput ShareSessionRecording ShowSecondFactor ValidatePolicy VerifySessionRecording',
}

/** NAMES are the actions with the names of their services. */
export const NAMES = Object.entries(ACTIONS).flatMap(([service, names]) =>
  names.split(' ').map((name) => `${service}:${name}`),
)

const split = (text: string) => text.split(' ')
const DOCUMENT = split('Version Id Statement')
const STATEMENT = split('Sid Effect Principal NotPrincipal Action NotAction Resource NotResource Condition')
const EFFECTS = split('Allow Deny')
const OPERATORS = [
  'StringEquals StringNotEquals StringEqualsIgnoreCase StringNotEqualsIgnoreCase StringLike StringNotLike',
  'NumericEquals NumericNotEquals NumericLessThan NumericLessThanEquals NumericGreaterThan NumericGreaterThanEquals',
  'DateEquals DateNotEquals DateLessThan DateLessThanEquals DateGreaterThan DateGreaterThanEquals',
  'Bool BinaryEquals IpAddress NotIpAddress ArnEquals ArnLike ArnNotEquals ArnNotLike Null',
  'ForAllValues:StringEquals ForAnyValue:StringEquals ForAllValues:StringLike ForAnyValue:StringLike',
].flatMap(split)
const KEYS = [
  'aws:CurrentTime aws:EpochTime aws:SourceIp aws:SecureTransport aws:MultiFactorAuthPresent aws:MultiFactorAuthAge',
  'aws:PrincipalArn aws:PrincipalType aws:PrincipalAccount aws:PrincipalTag/ aws:username aws:userid',
  'aws:TokenIssueTime aws:RequestedRegion aws:ResourceTag/ aws:RequestTag/ aws:TagKeys aws:UserAgent aws:ViaAWSService',
  'ssm:resourceTag/ ssm:SessionDocumentAccessCheck ssm:SourceInstanceARN iam:PassedToService',
  'sekisho:TimeOfDay/ sekisho:Weekday/ sekisho:Calendar/',
].flatMap(split)

const MOST = 8

/** Place is what the text before the cursor is in the middle of. */
interface Place {
  /** The string that is being typed, without its quote. */
  typed: string
  /** Whether the string is a key of an object. */
  key: boolean
  /** The keys around it, the innermost last. */
  path: string[]
}

/** placeOf reads a document up to the cursor; null where no string is being typed. */
function placeOf(before: string): Place | null {
  const path: string[] = []
  const open: ('{' | '[')[] = []
  let key = '' // the last string, which may be the key of what follows
  let expectsKey = false
  for (let i = 0; i < before.length; i++) {
    const c = before[i]!
    if (c === '"') {
      let end = i + 1
      while (end < before.length && before[end] !== '"') end += before[end] === '\\' ? 2 : 1
      if (end >= before.length)
        return { typed: before.slice(i + 1), key: expectsKey, path: [...path, ...(expectsKey ? [] : [key])] }
      if (expectsKey) key = before.slice(i + 1, end)
      i = end
    } else if (c === '{' || c === '[') {
      open.push(c)
      path.push(key)
      expectsKey = c === '{'
    } else if (c === '}' || c === ']') {
      open.pop()
      key = path.pop() ?? ''
      expectsKey = false
    } else if (c === ':') expectsKey = false
    else if (c === ',') {
      expectsKey = open.at(-1) === '{'
      if (!expectsKey) key = path.at(-1) ?? ''
    }
  }
  return null
}

/** candidates are what can stand at a place. */
function candidates({ key, path }: Place): string[] {
  const around = path.filter((p) => p !== '')
  const last = around.at(-1) ?? ''
  if (key) {
    if (around.length === 0) return DOCUMENT
    if (last === 'Statement') return STATEMENT
    if (last === 'Condition') return OPERATORS
    return around.at(-2) === 'Condition' ? KEYS : []
  }
  if (last === 'Effect') return EFFECTS
  return last === 'Action' || last === 'NotAction' ? NAMES : []
}

/** Completions are what can replace the string that is being typed. */
export interface Completions {
  /** How much of the text before the cursor is replaced. */
  length: number
  offers: string[]
}

/** completions are what the string before the cursor can become, the likeliest first. */
export function completions(before: string): Completions {
  const place = placeOf(before)
  if (place === null) return { length: 0, offers: [] }
  const typed = place.typed.toLowerCase()
  const all = candidates(place).filter((c) => c.toLowerCase() !== typed)
  // Actions are many: they are offered once the service is known.
  if (all.length > 40 && typed.length < 2) return { length: 0, offers: [] }
  const begins = all.filter((c) => c.toLowerCase().startsWith(typed))
  const contains = typed.length < 3 ? [] : all.filter((c) => !begins.includes(c) && c.toLowerCase().includes(typed))
  return { length: place.typed.length, offers: [...begins, ...contains].slice(0, MOST) }
}
