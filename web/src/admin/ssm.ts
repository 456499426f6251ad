// Documents, activations and commands, on behalf of the signed-in user.

import * as v from 'valibot'
import { call, IGNORED } from '../api'
import { millis } from '../format'
import { awsTime, tags, text } from '../schemas'

/** MOST_PAGES bounds how much is listed. */
const MOST_PAGES = 20

/** allPages calls an operation that lists, page by page. */
export async function allPages<S extends v.GenericSchema<unknown, { NextToken?: string }>>(
  target: string,
  input: object,
  schema: S,
): Promise<v.InferOutput<S>[]> {
  const pages: v.InferOutput<S>[] = []
  let token: string | undefined
  for (let i = 0; i < MOST_PAGES; i++) {
    const page: v.InferOutput<S> = await call(
      target,
      { ...input, ...(token === undefined ? {} : { NextToken: token }) },
      schema,
    )
    pages.push(page)
    token = (page as { NextToken?: string }).NextToken || undefined
    if (token === undefined) break
  }
  return pages
}

const next = v.optional(v.string())

const activation = v.object({
  ActivationId: v.string(),
  Description: text,
  DefaultInstanceName: text,
  IamRole: text,
  RegistrationLimit: v.number(),
  RegistrationsCount: v.optional(v.number(), 0),
  ExpirationDate: awsTime,
  Expired: v.optional(v.boolean(), false),
  CreatedDate: awsTime,
  Tags: tags,
})
export type Activation = v.InferOutput<typeof activation>
const activations = v.object({ ActivationList: v.optional(v.array(activation), []), NextToken: next })

export const listActivations = async () =>
  (await allPages('AmazonSSM.DescribeActivations', { MaxResults: 50 }, activations)).flatMap((p) => p.ActivationList)

export const deleteActivation = (id: string) => call('AmazonSSM.DeleteActivation', { ActivationId: id }, IGNORED)

const documentIdentifier = v.object({
  Name: v.string(),
  Owner: text,
  DocumentType: text,
  DocumentFormat: text,
  DocumentVersion: text,
  SchemaVersion: text,
  CreatedDate: awsTime,
})
export type DocumentIdentifier = v.InferOutput<typeof documentIdentifier>
const documents = v.object({ DocumentIdentifiers: v.optional(v.array(documentIdentifier), []), NextToken: next })

/** listDocuments lists documents: all, or those of a type. */
export const listDocuments = async (type?: string) =>
  (
    await allPages(
      'AmazonSSM.ListDocuments',
      { MaxResults: 50, ...(type === undefined ? {} : { Filters: [{ Key: 'DocumentType', Values: [type] }] }) },
      documents,
    )
  ).flatMap((p) => p.DocumentIdentifiers)

const documentVersions = v.object({
  DocumentVersions: v.optional(
    v.array(
      v.object({ DocumentVersion: v.string(), CreatedDate: awsTime, IsDefaultVersion: v.boolean(), Author: text }),
    ),
    [],
  ),
  NextToken: next,
})

/** DocumentVersion is one version of a document. */
export interface DocumentVersion {
  id: string
  author: string
  createdAt: number
  isDefault: boolean
}

export const listDocumentVersions = async (name: string): Promise<DocumentVersion[]> =>
  (await allPages('AmazonSSM.ListDocumentVersions', { Name: name, MaxResults: 50 }, documentVersions))
    .flatMap((p) => p.DocumentVersions)
    .map((d) => ({
      id: d.DocumentVersion,
      author: d.Author,
      createdAt: millis(d.CreatedDate),
      isDefault: d.IsDefaultVersion,
    }))

const content = v.object({ Content: v.string(), DocumentFormat: text, DocumentType: text })
export const readDocument = (name: string, version: string) =>
  call('AmazonSSM.GetDocument', { Name: name, DocumentVersion: version }, content)

const parameter = v.object({
  Name: v.string(),
  Type: text,
  Description: text,
  DefaultValue: v.optional(v.string()),
})
export type DocumentParameter = v.InferOutput<typeof parameter>
const description = v.object({
  Document: v.object({
    Description: text,
    Owner: text,
    DocumentType: text,
    Parameters: v.optional(v.array(parameter), []),
  }),
})
export const describeDocument = async (name: string) =>
  (await call('AmazonSSM.DescribeDocument', { Name: name }, description)).Document

const command = v.object({
  CommandId: v.string(),
  DocumentName: text,
  Comment: text,
  Status: text,
  StatusDetails: text,
  RequestedDateTime: awsTime,
  TargetCount: v.optional(v.number(), 0),
  CompletedCount: v.optional(v.number(), 0),
  ErrorCount: v.optional(v.number(), 0),
})
export type Command = v.InferOutput<typeof command>
const commands = v.object({ Commands: v.optional(v.array(command), []), NextToken: next })

export const listCommands = async () => (await call('AmazonSSM.ListCommands', { MaxResults: 50 }, commands)).Commands
export const readCommand = async (id: string) =>
  (await call('AmazonSSM.ListCommands', { CommandId: id }, commands)).Commands[0] ?? null

const plugin = v.object({ Name: text, Status: text, Output: text, ResponseCode: v.optional(v.number()) })
const invocation = v.object({
  CommandId: v.string(),
  InstanceId: v.string(),
  InstanceName: text,
  Status: text,
  StatusDetails: text,
  CommandPlugins: v.optional(v.array(plugin), []),
})
export type Invocation = v.InferOutput<typeof invocation>
const invocations = v.object({ CommandInvocations: v.optional(v.array(invocation), []), NextToken: next })

export const listInvocations = async (id: string) =>
  (
    await allPages('AmazonSSM.ListCommandInvocations', { CommandId: id, Details: true, MaxResults: 50 }, invocations)
  ).flatMap((p) => p.CommandInvocations)

const sent = v.object({ Command: v.object({ CommandId: v.string() }) })

/** Order is a command to send. */
export interface Order {
  DocumentName: string
  InstanceIds?: string[]
  Targets?: { Key: string; Values: string[] }[]
  Parameters?: Record<string, string[]>
  Comment?: string
  MaxConcurrency?: string
  MaxErrors?: string
}

export const sendCommand = async (order: Order) => (await call('AmazonSSM.SendCommand', order, sent)).Command.CommandId
export const cancelCommand = (id: string) => call('AmazonSSM.CancelCommand', { CommandId: id }, IGNORED)
