import BreadcrumbGroup from '@cloudscape-design/components/breadcrumb-group'
import Header from '@cloudscape-design/components/header'
import SpaceBetween from '@cloudscape-design/components/space-between'
import type { ReactNode } from 'react'
import { follow, href } from '../router'

/** EntityPage is the frame of a page about one thing of a list. */
export function EntityPage(props: {
  /** The path of the list. */
  list: string
  title: string
  name: string
  description?: ReactNode
  actions?: ReactNode
  children: ReactNode
}) {
  return (
    <SpaceBetween size="l">
      <BreadcrumbGroup
        items={[
          { text: props.title, href: href(...props.list.split('/')) },
          { text: props.name, href: href(...props.list.split('/'), props.name) },
        ]}
        onFollow={follow}
      />
      <Header variant="h1" description={props.description} actions={props.actions}>
        <span className="wrap">{props.name}</span>
      </Header>
      {props.children}
    </SpaceBetween>
  )
}
