package ssm

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/node/inventory"
	"sekisho/internal/wire/awsproto"
)

func (d inventoryDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"PutInventory":         api.Write(d.putInventory, api.MaxBody(awsproto.MaxBody)),
		"GetInventory":         api.Read(d.getInventory),
		"ListInventoryEntries": api.Read(d.listInventoryEntries),
		"GetInventorySchema":   api.Read(d.getInventorySchema),
	}
}

var (
	inventoryType    = regexp.MustCompile(`^(AWS|Custom):.*$`)
	inventoryVersion = regexp.MustCompile(`^([0-9]{1,6})(\.[0-9]{1,6})$`)
	inventoryTime    = regexp.MustCompile(
		`^(20)[0-9][0-9]-(0[1-9]|1[012])-([12][0-9]|3[01]|0[1-9])(T)(2[0-3]|[0-1][0-9])(:[0-5][0-9])(:[0-5][0-9])(Z)$`,
	)
)

type inventoryItem struct {
	TypeName      string
	SchemaVersion string
	CaptureTime   string `json:",omitempty"`
	ContentHash   string `json:",omitempty"`
	Content       []inventory.Entry
	Context       map[string]string `json:",omitempty"`
}

type putInventoryRequest struct {
	InstanceID string `json:"InstanceId"`
	Items      []inventoryItem
}

type putInventoryAnswer struct{ Message string }

// putInventory stores the inventory that a node reports.
func (d inventoryDoor) putInventory(
	ctx context.Context, c *api.Call, in *putInventoryRequest,
) (*putInventoryAnswer, error) {
	var v awsproto.Constraints
	v.Count("items", len(in.Items), 1, 30)
	items := make([]inventory.Item, 0, len(in.Items))
	for _, it := range in.Items {
		v.Length("items.member.typeName", it.TypeName, 1, 100)
		v.Pattern("items.member.typeName", it.TypeName, inventoryType)
		v.Pattern("items.member.schemaVersion", it.SchemaVersion, inventoryVersion)
		v.Pattern("items.member.captureTime", it.CaptureTime, inventoryTime)
		v.Length("items.member.contentHash", it.ContentHash, 0, 256)
		items = append(items, inventory.Item{
			Type: it.TypeName, Version: it.SchemaVersion, CapturedAt: it.CaptureTime, Hash: it.ContentHash, Content: it.Content,
		})
	}
	// The content is in the inventory, not in the audit trail.
	c.SetParams(map[string]any{"instanceId": in.InstanceID, "typeNames": typesOf(items)})
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := d.nodes.asNode(ctx, c, in.InstanceID); err != nil {
		return nil, err
	}
	for _, it := range in.Items {
		if len(it.Context) > 0 {
			return nil, awsproto.SenderError(
				"UnsupportedInventoryItemContextException",
				"Context is not supported for %s. Omit it.",
				it.TypeName,
			)
		}
	}
	err := d.Inventory.Put(ctx, c.Principal.Node, items)
	if sekisho.IsNotFound(err) {
		return nil, awsproto.SenderError("InvalidInstanceId", "%s is not registered.", in.InstanceID)
	}
	r, ok := errors.AsType[*inventory.Refusal](err)
	if !ok {
		return &putInventoryAnswer{"The inventory was stored."}, err
	}
	if slices.Contains(
		[]inventory.Reason{inventory.ItemTooLarge, inventory.NodeTooLarge, inventory.ManyTypes},
		r.Reason,
	) {
		d.Fleet.Oversized(ctx, c.Principal.Node, c.SourceIP.String(), "Its inventory was not stored: "+r.Text)
	}
	e := awsproto.SenderError(string(r.Reason), "%s", r.Text)
	if r.Type != "" {
		e.Extra = map[string]string{"TypeName": r.Type}
	}
	return nil, e
}

func typesOf(items []inventory.Item) []string {
	names := []string{}
	for _, it := range items[:min(len(items), 30)] {
		names = append(names, it.Type[:min(len(it.Type), 100)])
	}
	return names
}

// ownAttributes are the attributes of [inventoryDoor.ownItem].
var ownAttributes = []string{
	"AgentType", "AgentVersion", "ComputerName", "InstanceId", "InstanceStatus", "IpAddress", "PlatformName",
	"PlatformType",
	"PlatformVersion", "ResourceType",
}

// ownItem returns the inventory item that the server itself provides for each node.
func (d inventoryDoor) ownItem(n *sekisho.Node) *inventory.Item {
	e := make(inventory.Entry, len(ownAttributes))
	for _, name := range ownAttributes {
		if v := d.nodes.nodeAttribute(n, name); v != "" {
			e[name] = v
		}
	}
	return &inventory.Item{
		Type: inventory.InstanceInformation, Version: "1.0", CapturedAt: n.LastPingAt.UTC().Format(time.RFC3339),
		Content: []inventory.Entry{e},
	}
}

// item returns the inventory item of a node and type, or nil.
func (d inventoryDoor) item(ctx context.Context, n *sekisho.Node, typ string) (*inventory.Item, error) {
	if typ == inventory.InstanceInformation {
		return d.ownItem(n), nil
	}
	return d.Inventory.Item(ctx, n.ID, typ)
}

type inventoryFilter struct {
	Key    string
	Values []string
	Type   string
}

// inventoryFilters parses the filters of a request. A key without a type refers to the request's
// type, if it has one.
func inventoryFilters(in []inventoryFilter, typ string) ([]inventory.Filter, error) {
	var v awsproto.Constraints
	v.Count("filters", len(in), 0, 5)
	all := make([]inventory.Filter, 0, len(in))
	for _, f := range in {
		if f.Type == "" {
			f.Type = "Equal"
		}
		v.Length("filters.member.key", f.Key, 1, 200)
		v.Count("filters.member.values", len(f.Values), 1, 40)
		v.Enum("filters.member.type", f.Type, inventory.Operators()...)
		filter := inventory.Filter{Operator: f.Type, Values: f.Values}
		var ok bool
		if filter.Type, filter.Attribute, ok = inventory.ParseKey(f.Key); !ok && typ != "" &&
			!strings.ContainsAny(f.Key, ":.") {
			filter.Type, filter.Attribute, ok = typ, f.Key, true
		}
		if !ok || typ != "" && filter.Type != typ {
			if err := v.Err(); err != nil {
				return nil, err
			}
			return nil, awsproto.SenderError(
				"InvalidFilter",
				"The filter key %q is not valid: it must be a type and an attribute, such as AWS:InstanceInformation.PlatformType.",
				f.Key,
			)
		}
		all = append(all, filter)
	}
	return all, v.Err()
}

// inventorySelection are the filters of a request by their type.
type inventorySelection struct {
	own   []inventory.Filter // of InstanceInformation
	other map[string][]inventory.Filter
}

func newInventorySelection(filters []inventory.Filter) *inventorySelection {
	s := &inventorySelection{other: map[string][]inventory.Filter{}}
	for _, f := range filters {
		if f.Type == inventory.InstanceInformation {
			s.own = append(s.own, f)
		} else {
			s.other[f.Type] = append(s.other[f.Type], f)
		}
	}
	return s
}

// selected reports whether a node passes all filters. A single entry must pass all filters on its
// type.
func (d inventoryDoor) selected(ctx context.Context, n *sekisho.Node, s *inventorySelection) (bool, error) {
	for i := range s.own {
		value := ""
		if slices.Contains(ownAttributes, s.own[i].Attribute) {
			value = d.nodes.nodeAttribute(n, s.own[i].Attribute)
		}
		if !s.own[i].PassesValue(value, value != "") {
			return false, nil
		}
	}
	for typ, filters := range s.other {
		it, err := d.item(ctx, n, typ)
		if err != nil {
			return false, err
		}
		if it == nil {
			it = &inventory.Item{}
		}
		if _, ok := inventory.Select(it.Content, filters); !ok {
			return false, nil
		}
	}
	return true, nil
}

type inventoryAggregator struct {
	Expression  string
	Aggregators []inventoryAggregator
	Groups      []struct{ Name string }
}

type getInventoryRequest struct {
	Filters          []inventoryFilter
	Aggregators      []inventoryAggregator
	ResultAttributes []struct{ TypeName string }
	NextToken        string
	MaxResults       *int64
}

type inventoryEntity struct {
	ID   string                   `json:"Id,omitempty"`
	Data map[string]inventoryItem `json:"Data"`
}

type getInventoryAnswer struct {
	Entities  []inventoryEntity
	NextToken string `json:",omitempty"`
}

// maxInventoryAnswer is the approximate limit for one answer, in bytes. The next page continues.
const maxInventoryAnswer = 4 << 20

func (d inventoryDoor) getInventory(
	ctx context.Context, c *api.Call, in *getInventoryRequest,
) (*getInventoryAnswer, error) {
	var v awsproto.Constraints
	limit := pageSize(&v, in.MaxResults, 50)
	v.Count("resultAttributes", len(in.ResultAttributes), 0, 1)
	v.Count("aggregators", len(in.Aggregators), 0, 10)
	if err := v.Err(); err != nil {
		return nil, err
	}
	filters, err := inventoryFilters(in.Filters, "")
	if err != nil {
		return nil, err
	}
	want := inventory.InstanceInformation
	for _, r := range in.ResultAttributes {
		if want = r.TypeName; !inventory.Known(want) {
			return nil, awsproto.SenderError(string(inventory.UnknownType), "Unknown inventory type %.100q.", want)
		}
	}
	if err := c.Authorize(ctx, "ssm:GetInventory", "*"); err != nil {
		return nil, err
	}
	nodes, err := d.Fleet.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	if len(in.Aggregators) > 0 {
		return d.aggregate(ctx, nodes, newInventorySelection(filters), in)
	}
	after := ""
	if in.NextToken != "" {
		if after, err = readToken(in.NextToken); err != nil {
			return nil, err
		}
	}
	nodes = nodes[sort.Search(len(nodes), func(i int) bool { return string(nodes[i].ID) > after }):]
	if limit == 0 {
		limit = 50
	}
	out := &getInventoryAnswer{Entities: []inventoryEntity{}}
	size := 0
	selection := newInventorySelection(filters)
	for i, n := range nodes {
		ok, err := d.selected(ctx, n, selection)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if len(out.Entities) == limit || size > maxInventoryAnswer {
			out.NextToken = makeToken(string(nodes[i-1].ID))
			break
		}
		e := inventoryEntity{ID: string(n.ID), Data: map[string]inventoryItem{}}
		it, err := d.item(ctx, n, want)
		if err != nil {
			return nil, err
		}
		if it != nil {
			e.Data[it.Type] = inventoryItem{
				TypeName:      it.Type,
				SchemaVersion: it.Version,
				CaptureTime:   it.CapturedAt,
				ContentHash:   it.Hash,
				Content:       it.Content,
			}
			for _, entry := range it.Content {
				for k, v := range entry {
					size += len(k) + len(v)
				}
			}
		}
		out.Entities = append(out.Entities, e)
	}
	return out, nil
}

// aggregate counts nodes by values in their inventory. Nested aggregators count by the combination.
func (d inventoryDoor) aggregate(
	ctx context.Context,
	nodes []*sekisho.Node,
	filters *inventorySelection,
	in *getInventoryRequest,
) (*getInventoryAnswer, error) {
	if len(in.ResultAttributes) > 0 {
		return nil, awsproto.SenderError(
			"InvalidResultAttributeException",
			"ResultAttributes and Aggregators cannot be combined.",
		)
	}
	if in.NextToken != "" {
		return nil, errToken
	}
	type grouping struct {
		typ        string
		attributes []string
	}
	var groups []grouping
	var read func(a inventoryAggregator, outer grouping) error
	read = func(a inventoryAggregator, outer grouping) error {
		typ, attribute, ok := inventory.ParseKey(a.Expression)
		switch {
		case len(a.Groups) > 0:
			return awsproto.SenderError(
				"InvalidInventoryGroupException",
				"Aggregators with Groups are not supported. Use Expression.",
			)
		case !ok || outer.typ != "" && outer.typ != typ:
			return awsproto.SenderError(
				"InvalidAggregatorException",
				"The expression %.200q is not valid: it must be a type and an attribute, with the same type as the "+
					"enclosing aggregator.",
				a.Expression,
			)
		case len(outer.attributes) >= 3 || len(a.Aggregators) > 10 || len(groups) >= 20:
			return awsproto.SenderError("InvalidAggregatorException", "There are too many aggregators.")
		}
		g := grouping{typ, append(slices.Clone(outer.attributes), attribute)}
		for _, inner := range a.Aggregators {
			if err := read(inner, g); err != nil {
				return err
			}
		}
		if len(a.Aggregators) == 0 {
			groups = append(groups, g)
		}
		return nil
	}
	for _, a := range in.Aggregators {
		if err := read(a, grouping{}); err != nil {
			return nil, err
		}
	}
	lines := make([][]inventory.Entry, len(groups))
	for _, n := range nodes {
		ok, err := d.selected(ctx, n, filters)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		for i, g := range groups {
			it, err := d.item(ctx, n, g.typ)
			if err != nil {
				return nil, err
			}
			if it != nil {
				// A node counts once for each value, however many entries have it.
				for _, line := range inventory.Tally(it.Content, g.attributes...) {
					delete(line, "Count")
					lines[i] = append(lines[i], line)
				}
			}
		}
	}
	out := &getInventoryAnswer{Entities: []inventoryEntity{}}
	for i, g := range groups {
		out.Entities = append(out.Entities, inventoryEntity{Data: map[string]inventoryItem{
			g.typ: {TypeName: g.typ, SchemaVersion: "1.0", Content: inventory.Tally(lines[i], g.attributes...)},
		}})
	}
	return out, nil
}

type listInventoryRequest struct {
	InstanceID string `json:"InstanceId"`
	TypeName   string
	Filters    []inventoryFilter
	NextToken  string
	MaxResults *int64
}

type listInventoryAnswer struct {
	TypeName      string
	InstanceID    string `json:"InstanceId"`
	SchemaVersion string `json:",omitempty"`
	CaptureTime   string `json:",omitempty"`
	Entries       []inventory.Entry
	NextToken     string `json:",omitempty"`
}

func (d inventoryDoor) listInventoryEntries(
	ctx context.Context,
	c *api.Call,
	in *listInventoryRequest,
) (*listInventoryAnswer, error) {
	var v awsproto.Constraints
	limit := pageSize(&v, in.MaxResults, 50)
	v.Require("instanceId", in.InstanceID != "")
	v.Require("typeName", in.TypeName != "")
	if err := v.Err(); err != nil {
		return nil, err
	}
	n, err := d.nodes.authorizeNode(ctx, c, "ssm:ListInventoryEntries", in.InstanceID)
	if err != nil {
		return nil, err
	}
	if !inventory.Known(in.TypeName) {
		return nil, awsproto.SenderError(
			string(inventory.UnknownType),
			"Unknown inventory type %.100q.",
			in.TypeName,
		)
	}
	filters, err := inventoryFilters(in.Filters, in.TypeName)
	if err != nil {
		return nil, err
	}
	it, err := d.item(ctx, n, in.TypeName)
	if err != nil {
		return nil, err
	}
	out := &listInventoryAnswer{TypeName: in.TypeName, InstanceID: in.InstanceID, Entries: []inventory.Entry{}}
	if it == nil {
		return out, nil
	}
	out.SchemaVersion, out.CaptureTime = it.Version, it.CapturedAt
	type placed struct {
		place string
		entry inventory.Entry
	}
	var all []placed
	entries, _ := inventory.Select(it.Content, filters)
	for i, e := range entries {
		all = append(all, placed{fmt.Sprintf("%06d", i), e})
	}
	all, next, err := page(all, func(p placed) string { return p.place }, in.NextToken, limit, 50)
	if err != nil {
		return nil, err
	}
	out.NextToken = next
	for _, p := range all {
		out.Entries = append(out.Entries, p.entry)
	}
	return out, nil
}

type inventorySchemaRequest struct {
	TypeName   string
	NextToken  string
	MaxResults *int64
	Aggregator bool
	SubType    *bool
}

type inventoryAttribute struct{ Name, DataType string }

type inventorySchema struct {
	TypeName    string
	Version     string
	Attributes  []inventoryAttribute
	DisplayName string
}

type inventorySchemaAnswer struct {
	Schemas   []inventorySchema
	NextToken string `json:",omitempty"`
}

// getInventorySchema lists the types whose names begin with TypeName. All attributes are strings.
func (d inventoryDoor) getInventorySchema(
	ctx context.Context,
	c *api.Call,
	in *inventorySchemaRequest,
) (*inventorySchemaAnswer, error) {
	var v awsproto.Constraints
	v.Length("typeName", in.TypeName, 0, 100)
	limit := 0
	if in.MaxResults != nil {
		v.Range("maxResults", *in.MaxResults, 50, 200)
		limit = int(*in.MaxResults)
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "ssm:GetInventorySchema", "*"); err != nil {
		return nil, err
	}
	all, err := d.Inventory.Schemas(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(s inventory.Schema) bool { return !strings.HasPrefix(s.Type, in.TypeName) })
	if in.SubType != nil && *in.SubType {
		all = nil // none of them has one
	}
	if len(all) == 0 && strings.Contains(in.TypeName, ":") {
		return nil, awsproto.SenderError(
			string(inventory.UnknownType),
			"Unknown inventory type %.100q.",
			in.TypeName,
		)
	}
	all, next, err := page(
		all,
		func(s inventory.Schema) string { return s.Type + " " + s.Version },
		in.NextToken,
		limit,
		200,
	)
	if err != nil {
		return nil, err
	}
	out := &inventorySchemaAnswer{Schemas: []inventorySchema{}, NextToken: next}
	for _, s := range all {
		_, name, _ := strings.Cut(s.Type, ":")
		schema := inventorySchema{
			TypeName:    s.Type,
			Version:     s.Version,
			Attributes:  []inventoryAttribute{},
			DisplayName: name,
		}
		for _, a := range s.Attributes {
			schema.Attributes = append(schema.Attributes, inventoryAttribute{a, "string"})
		}
		out.Schemas = append(out.Schemas, schema)
	}
	return out, nil
}
