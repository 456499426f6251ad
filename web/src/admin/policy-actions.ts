// Names of actions, to complete what is typed in a policy.

const ACTIONS: Record<string, string> = {
  ssm: `
    StartSession TerminateSession ResumeSession DescribeSessions GetConnectionStatus DescribeInstanceInformation
    DescribeInstanceProperties CreateActivation DeleteActivation DescribeActivations DeregisterManagedInstance
    UpdateManagedInstanceRole SendCommand CancelCommand ListCommands ListCommandInvocations GetCommandInvocation
    CreateDocument UpdateDocument DeleteDocument DescribeDocument GetDocument ListDocuments ListDocumentVersions
    UpdateDocumentDefaultVersion ModifyDocumentPermission AddTagsToResource RemoveTagsFromResource
    ListTagsForResource GetInventory GetServiceSetting UpdateServiceSetting
  `,
  ssmmessages: 'CreateControlChannel CreateDataChannel OpenControlChannel OpenDataChannel',
  iam: `
    ListUsers GetUser CreateUser DeleteUser UpdateUser ListGroups CreateGroup DeleteGroup AddUserToGroup
    RemoveUserFromGroup ListRoles GetRole CreateRole DeleteRole PassRole ListPolicies GetPolicy GetPolicyVersion
    CreatePolicy CreatePolicyVersion DeletePolicy SetDefaultPolicyVersion AttachUserPolicy DetachUserPolicy
    AttachGroupPolicy DetachGroupPolicy AttachRolePolicy DetachRolePolicy PutUserPolicy PutGroupPolicy PutRolePolicy
    CreateAccessKey UpdateAccessKey DeleteAccessKey ListAccessKeys CreateLoginProfile UpdateLoginProfile
    DeleteLoginProfile ChangePassword ListMFADevices DeactivateMFADevice SimulatePrincipalPolicy
    SimulateCustomPolicy
  `,
  sts: 'AssumeRole AssumeRoleWithWebIdentity GetCallerIdentity GetSessionToken TagSession',
  s3: `
    ListAllMyBuckets CreateBucket ListBucket ListBucketVersions GetObject GetObjectVersion PutObject DeleteObject
    GetEncryptionConfiguration GetBucketVersioning PutBucketVersioning
  `,
  logs: `
    CreateLogGroup DeleteLogGroup DescribeLogGroups CreateLogStream DescribeLogStreams PutLogEvents GetLogEvents
    FilterLogEvents AssociateKmsKey DisassociateKmsKey PutRetentionPolicy
  `,
  kms: `
    ListKeys ListAliases DescribeKey CreateKey CreateAlias Encrypt Decrypt GenerateDataKey EnableKey DisableKey
    ScheduleKeyDeletion CancelKeyDeletion GetKeyPolicy PutKeyPolicy
  `,
  ec2: 'DescribeInstances DescribeTags CreateTags DeleteTags',
  cloudtrail: 'LookupEvents',
  sekisho: `
    GetSessionRecording VerifySessionRecording JoinSession ListSessionParticipants ListEvents ListWebhooks
    ListSeenMachines ApproveNodeIdentity CreateInstallCommand
  `,
}

const NAMES = Object.entries(ACTIONS).flatMap(([service, names]) =>
  names
    .trim()
    .split(/\s+/)
    .map((name) => `${service}:${name}`),
)
const MOST = 8

/** suggestions are the actions that the text before the cursor begins: inside of a string, from the second letter. */
export function suggestions(before: string): string[] {
  const typed = /"([a-z0-9]{2,}(?::\w*)?)$/.exec(before)?.[1]?.toLowerCase()
  if (typed === undefined) return []
  return NAMES.filter((n) => n.toLowerCase().startsWith(typed) && n.toLowerCase() !== typed).slice(0, MOST)
}
