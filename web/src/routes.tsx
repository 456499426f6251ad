// Every page of the console: its address, its title, its place in the
// navigation, and the action without which it is useless.

import type { ComponentType } from 'react'
import type { SignedIn } from './api'
import type { PlainKey } from './i18n'
import { lazy } from './lazy'

/** PageProps are the properties of every page. */
export interface PageProps {
  who: SignedIn
  /** The segments of the path after the page's own. */
  params: string[]
}

/** NavigationGroup is a group of links in the navigation. */
export type NavigationGroup = 'nodes' | 'sessions' | 'access' | 'resources' | 'operate'

/** Route is one page. */
export interface Route {
  /** The page's own segments of the path, joined by slashes. */
  path: string
  /** How many segments may follow. */
  params: number
  title: PlainKey
  page: ComponentType<PageProps>
  layout: 'table' | 'default' | 'terminal'
  /** The group of its link in the navigation; none for pages that only other pages link to. */
  group?: NavigationGroup
  /** The text of the link, where it is not the title. */
  link?: PlainKey
  /** The page whose link is highlighted, for pages without one. */
  parent?: string
  /** The navigation hides the page from users who may not do this. */
  needs?: string
}

/** GROUPS are the groups of the navigation, in their order. */
export const GROUPS: { id: NavigationGroup; title: PlainKey }[] = [
  { id: 'nodes', title: 'nav.groupNodes' },
  { id: 'sessions', title: 'nav.sessions' },
  { id: 'access', title: 'nav.groupAccess' },
  { id: 'resources', title: 'nav.groupResources' },
  { id: 'operate', title: 'nav.groupOperate' },
]

const NodesPage = lazy(() => import('./nodes-page'))
const SessionsPage = lazy(() => import('./sessions-page'))

const CommandsPage = lazy(() => import('./admin/commands-page'))
const ActivationsPage = lazy(() => import('./admin/activations-page'))
const UsersPage = lazy(() => import('./admin/users-page'))
const UserPage = lazy(() => import('./admin/user-page'))
const GroupsPage = lazy(() => import('./admin/groups-page'))
const RolesPage = lazy(() => import('./admin/roles-page'))
const PoliciesPage = lazy(() => import('./admin/policies-page'))
const DocumentsPage = lazy(() => import('./admin/documents-page'))
const BucketsPage = lazy(() => import('./admin/buckets-page'))
const LogGroupsPage = lazy(() => import('./admin/log-groups-page'))
const KeysPage = lazy(() => import('./admin/keys-page'))
const AuditPage = lazy(() => import('./admin/audit-page'))
const EventsPage = lazy(() => import('./admin/events-page'))

/** ROUTES are the pages, in the order of the navigation. */
export const ROUTES: Route[] = [
  { path: 'home', params: 0, title: 'nav.home', page: lazy(() => import('./home-page')), layout: 'default' },
  { path: 'nodes', params: 0, title: 'nav.nodes', page: NodesPage, layout: 'table', group: 'nodes' },
  {
    path: 'nodes',
    params: 1,
    title: 'common.node',
    page: lazy(() => import('./node-page')),
    layout: 'default',
    parent: 'nodes',
  },
  {
    path: 'reach',
    params: 0,
    title: 'mine.title',
    page: lazy(() => import('./reach-page')),
    layout: 'table',
    group: 'nodes',
  },
  {
    path: 'terminals',
    params: 0,
    title: 'nav.terminals',
    page: lazy(() => import('./terminals-page')),
    layout: 'terminal',
    group: 'nodes',
  },
  {
    path: 'commands',
    params: 0,
    title: 'nav.runCommand',
    page: CommandsPage,
    layout: 'table',
    group: 'nodes',
    needs: 'ssm:ListCommands',
  },
  { path: 'commands', params: 1, title: 'nav.runCommand', page: CommandsPage, layout: 'default', parent: 'commands' },
  {
    path: 'activations',
    params: 0,
    title: 'nav.activations',
    page: ActivationsPage,
    layout: 'table',
    group: 'nodes',
    needs: 'ssm:DescribeActivations',
  },
  {
    path: 'setup',
    params: 0,
    title: 'nav.setup',
    page: lazy(() => import('./quick-setup-page')),
    layout: 'default',
    group: 'nodes',
    needs: 'ssm:CreateActivation',
  },
  {
    path: 'sessions/active',
    params: 0,
    title: 'nav.sessions',
    link: 'nav.active',
    page: SessionsPage,
    layout: 'table',
    group: 'sessions',
    needs: 'ssm:DescribeSessions',
  },
  {
    path: 'sessions/history',
    params: 0,
    title: 'nav.sessions',
    link: 'nav.history',
    page: SessionsPage,
    layout: 'table',
    group: 'sessions',
    needs: 'ssm:DescribeSessions',
  },
  {
    path: 'sessions/watch',
    params: 1,
    title: 'replay.title',
    page: lazy(() => import('./replay-page')),
    layout: 'default',
    parent: 'sessions/active',
  },
  {
    path: 'sessions/replay',
    params: 1,
    title: 'replay.title',
    page: lazy(() => import('./replay-page')),
    layout: 'default',
    parent: 'sessions/history',
  },
  {
    path: 'shared',
    params: 1,
    title: 'replay.title',
    page: lazy(() => import('./shared-page')),
    layout: 'default',
    parent: 'sessions/history',
  },
  {
    path: 'preferences',
    params: 0,
    title: 'prefs.title',
    link: 'nav.preferences',
    page: lazy(() => import('./preferences-page')),
    layout: 'default',
    group: 'sessions',
    needs: 'ssm:GetDocument',
  },
  {
    path: 'users',
    params: 0,
    title: 'nav.users',
    page: UsersPage,
    layout: 'table',
    group: 'access',
    needs: 'iam:ListUsers',
  },
  { path: 'users', params: 1, title: 'nav.users', page: UserPage, layout: 'default', parent: 'users' },
  {
    path: 'groups',
    params: 0,
    title: 'nav.groups',
    page: GroupsPage,
    layout: 'table',
    group: 'access',
    needs: 'iam:ListGroups',
  },
  { path: 'groups', params: 1, title: 'nav.groups', page: GroupsPage, layout: 'default', parent: 'groups' },
  {
    path: 'roles',
    params: 0,
    title: 'nav.roles',
    page: RolesPage,
    layout: 'table',
    group: 'access',
    needs: 'iam:ListRoles',
  },
  { path: 'roles', params: 1, title: 'nav.roles', page: RolesPage, layout: 'default', parent: 'roles' },
  {
    path: 'policies',
    params: 0,
    title: 'nav.policies',
    page: PoliciesPage,
    layout: 'table',
    group: 'access',
    needs: 'iam:ListPolicies',
  },
  { path: 'policies', params: 1, title: 'nav.policies', page: PoliciesPage, layout: 'default', parent: 'policies' },
  {
    path: 'grant',
    params: 0,
    title: 'grant.title',
    page: lazy(() => import('./admin/grant-page')),
    layout: 'default',
    group: 'access',
    needs: 'iam:PutUserPolicy',
  },
  {
    path: 'requests',
    params: 0,
    title: 'jit.title',
    page: lazy(() => import('./admin/requests-page')),
    layout: 'table',
    group: 'access',
    needs: 'sekisho:ListAccessRequests',
  },
  {
    path: 'simulator',
    params: 0,
    title: 'simulator.title',
    page: lazy(() => import('./simulator-page')),
    layout: 'default',
    group: 'access',
    needs: 'iam:SimulatePrincipalPolicy',
  },
  {
    path: 'documents',
    params: 0,
    title: 'nav.documents',
    page: DocumentsPage,
    layout: 'table',
    group: 'resources',
    needs: 'ssm:ListDocuments',
  },
  { path: 'documents', params: 1, title: 'nav.documents', page: DocumentsPage, layout: 'default', parent: 'documents' },
  {
    path: 'buckets',
    params: 0,
    title: 'nav.buckets',
    page: BucketsPage,
    layout: 'table',
    group: 'resources',
    needs: 's3:ListAllMyBuckets',
  },
  { path: 'buckets', params: 1, title: 'nav.buckets', page: BucketsPage, layout: 'default', parent: 'buckets' },
  {
    path: 'log-groups',
    params: 0,
    title: 'nav.logGroups',
    page: LogGroupsPage,
    layout: 'table',
    group: 'resources',
    needs: 'logs:DescribeLogGroups',
  },
  {
    path: 'log-groups',
    params: 1,
    title: 'nav.logGroups',
    page: LogGroupsPage,
    layout: 'default',
    parent: 'log-groups',
  },
  {
    path: 'keys',
    params: 0,
    title: 'nav.keys',
    page: KeysPage,
    layout: 'table',
    group: 'resources',
    needs: 'kms:ListKeys',
  },
  {
    path: 'audit',
    params: 0,
    title: 'nav.audit',
    page: AuditPage,
    layout: 'table',
    group: 'operate',
    needs: 'cloudtrail:LookupEvents',
  },
  {
    path: 'events',
    params: 0,
    title: 'nav.events',
    page: EventsPage,
    layout: 'table',
    group: 'operate',
    needs: 'sekisho:ListEvents',
  },
  {
    path: 'usage',
    params: 0,
    title: 'usage.title',
    page: lazy(() => import('./admin/usage-page')),
    layout: 'table',
    group: 'operate',
    needs: 'sekisho:GetUsage',
  },
  {
    path: 'health',
    params: 0,
    title: 'health.title',
    page: lazy(() => import('./admin/health-page')),
    layout: 'default',
    group: 'operate',
    needs: 'sekisho:GetHealth',
  },
  {
    path: 'approve',
    params: 0,
    title: 'approve.title',
    page: lazy(() => import('./approve-page')),
    layout: 'default',
  },
  {
    path: 'approve',
    params: 1,
    title: 'approve.title',
    page: lazy(() => import('./approve-page')),
    layout: 'default',
  },
  { path: 'account', params: 0, title: 'mfa.title', page: lazy(() => import('./factors')), layout: 'default' },
]

/** HOME is the page at the console's own address. */
export const HOME = 'home'

/** findRoute finds the page of a path, and the segments that follow; null when there is none. */
export function findRoute(segments: string[]): { route: Route; params: string[] } | null {
  const path = segments.length === 0 ? HOME.split('/') : segments
  for (const route of ROUTES) {
    const own = route.path.split('/')
    const params = path.slice(own.length)
    if (own.every((s, i) => s === path[i]) && params.length === route.params) return { route, params }
  }
  return null
}
