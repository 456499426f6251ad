// Package grant generates policies for the common case: they let users open sessions on
// given nodes, at given times and from given networks. The result is plain policy JSON.
package grant

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sekisho/internal/iam/policy"
)

// Grant describes access to nodes. An empty field, other than Targets, does not restrict.
type Grant struct {
	Region, Account string
	// Targets are node IDs, tags ("tag:KEY=VALUE") or "*" for every node. A node must match one of
	// them.
	Targets []string
	// Documents are the allowed session documents; empty means the default shell and any others
	// granted elsewhere.
	Documents []string
	Weekdays  []string // "mon", "Mon-Fri"
	From, To  string   // local times of day, HH:MM; To may be before From
	Zone      string   // time zone of Weekdays, From and To
	// FirstDay and LastDay are local dates in Zone, both inclusive, such as 2026-04-15.
	FirstDay, LastDay string
	// NotBefore and NotAfter are absolute bounds.
	NotBefore, NotAfter time.Time
	SourceIPs           []string // addresses and CIDR ranges
	MFA                 bool     // requires a second factor
	// MFAWithin requires a second factor that is not older; 0 accepts any age.
	MFAWithin      time.Duration
	During, Except []string // names of calendars
}

const (
	maxTargets = 50
	maxList    = 50
	minFactor  = time.Minute
	maxFactor  = 36 * time.Hour // credentials last no longer
)

// statement is a policy statement with its elements in the usual order.
type statement struct {
	Sid       string
	Effect    string
	Action    []string
	Resource  []string
	Condition conditions `json:",omitempty"`
}

type conditions map[string]map[string]any

func (c conditions) set(operator, key string, values ...string) {
	if c[operator] == nil {
		c[operator] = map[string]any{}
	}
	if len(values) == 1 {
		c[operator][key] = values[0]
		return
	}
	c[operator][key] = values
}

// Policy returns the policy of a grant. It is valid by [policy.Validate].
func (g *Grant) Policy() (string, error) {
	if len(g.Documents)+len(g.SourceIPs)+len(g.During)+len(g.Except) > maxList || len(g.Weekdays) > maxList {
		return "", fmt.Errorf("a grant can have at most %d documents, addresses and calendars", maxList)
	}
	windows, err := g.windows()
	if err != nil {
		return "", err
	}
	common, err := g.common()
	if err != nil {
		return "", err
	}
	groups, err := g.targets()
	if err != nil {
		return "", err
	}
	documents, err := g.documents()
	if err != nil {
		return "", err
	}
	var list []statement
	add := func(name string, actions, resources []string, cs ...func(conditions)) {
		s := statement{
			Sid:       name + strconv.Itoa(len(list)+1),
			Effect:    "Allow",
			Action:    actions,
			Resource:  resources,
			Condition: conditions{},
		}
		for _, c := range cs {
			c(s.Condition)
		}
		list = append(list, s)
	}
	for _, window := range windows {
		for _, t := range groups {
			add(
				"StartSession",
				[]string{"ssm:StartSession"},
				t.resources,
				window,
				common,
				t.conditions,
				func(c conditions) {
					if len(g.Documents) > 0 {
						// Otherwise the grant on the node includes the default document.
						c.set("Bool", policy.SessionDocumentKey, "true")
					}
				},
			)
		}
		add("UseDocument", []string{"ssm:StartSession"}, documents, window, common)
		add("ResumeOwnSessions", []string{"ssm:ResumeSession"}, []string{ownSessions}, window, common)
	}
	add("EndOwnSessions", []string{"ssm:TerminateSession"}, []string{ownSessions})
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(struct {
		Version   string
		Statement []statement
	}{"2012-10-17", list}); err != nil {
		return "", err
	}
	text := strings.TrimSpace(b.String())
	if err := policy.Validate([]byte(text), policy.KindIdentity); err != nil {
		return "", err
	}
	return text, nil
}

// ownSessions identifies sessions by their owner's unique ID, because a user name can be a prefix
// of another.
const ownSessions = "arn:aws:ssm:*:*:session/${aws:userid}-*"

type targetGroup struct {
	resources  []string
	conditions func(conditions)
}

var (
	nodeID    = regexp.MustCompile(`^m?i-[0-9a-f]{8,17}$`)
	tagTarget = regexp.MustCompile(`^tag:([^=*?$]{1,128})=([^*?$]{1,256})$`)
	document  = regexp.MustCompile(`^[A-Za-z0-9_.-]{3,128}$`)
)

func (g *Grant) node(id string) string {
	if strings.HasPrefix(id, "mi-") || id == "*" {
		return "arn:aws:ssm:" + g.Region + ":" + g.Account + ":managed-instance/" + id
	}
	return "arn:aws:ec2:" + g.Region + ":" + g.Account + ":instance/" + id
}

// everyNode returns the resources that match all nodes.
func (g *Grant) everyNode() []string {
	return []string{g.node("*"), "arn:aws:ec2:" + g.Region + ":" + g.Account + ":instance/*"}
}

// targets groups the targets into statements: all nodes named by ID, and each
// tag by itself.
func (g *Grant) targets() ([]targetGroup, error) {
	if len(g.Targets) == 0 || len(g.Targets) > maxTargets {
		return nil, fmt.Errorf("a grant must have 1 to %d targets", maxTargets)
	}
	var ids []string
	var groups []targetGroup
	for _, t := range g.Targets {
		switch tag := tagTarget.FindStringSubmatch(t); {
		case t == "*":
			groups = append(groups, targetGroup{g.everyNode(), func(conditions) {}})
		case tag != nil:
			groups = append(
				groups,
				targetGroup{
					g.everyNode(),
					func(c conditions) { c.set("StringEquals", "ssm:resourceTag/"+tag[1], tag[2]) },
				},
			)
		case nodeID.MatchString(t):
			ids = append(ids, g.node(t))
		default:
			return nil, fmt.Errorf("the target %q is neither a node ID, nor tag:KEY=VALUE, nor *", t)
		}
	}
	if len(ids) > 0 {
		groups = append([]targetGroup{{ids, func(conditions) {}}}, groups...)
	}
	return groups, nil
}

func (g *Grant) documents() ([]string, error) {
	names := g.Documents
	if len(names) == 0 {
		names = []string{"SSM-SessionManagerRunShell"}
	}
	var arns []string
	for _, name := range names {
		if !document.MatchString(name) {
			return nil, fmt.Errorf("%q is not a valid document name", name)
		}
		// AWS's documents belong to no account.
		arns = append(arns, "arn:aws:ssm:"+g.Region+":*:document/"+name)
	}
	return arns, nil
}

// common returns the conditions of every window.
func (g *Grant) common() (func(conditions), error) {
	for _, ip := range g.SourceIPs {
		if _, err := netip.ParseAddr(ip); err == nil {
			continue
		}
		if _, err := netip.ParsePrefix(ip); err != nil {
			return nil, fmt.Errorf("%q is neither an IP address nor a CIDR range", ip)
		}
	}
	for _, name := range slices.Concat(g.During, g.Except) {
		if !policy.ValidCalendarName(name) {
			return nil, fmt.Errorf("%q is not a valid calendar name", name)
		}
		if slices.Contains(g.During, name) && slices.Contains(g.Except, name) {
			return nil, fmt.Errorf("the calendar %s is both required and excluded", name)
		}
	}
	if !g.NotBefore.IsZero() && !g.NotAfter.IsZero() && !g.NotBefore.Before(g.NotAfter) {
		return nil, errors.New("the grant ends before it begins")
	}
	if g.MFAWithin != 0 && (g.MFAWithin < minFactor || g.MFAWithin > maxFactor) {
		return nil, fmt.Errorf("the age of a second factor is %s; it must be %s to %s", g.MFAWithin, minFactor, maxFactor)
	}
	return func(c conditions) {
		if len(g.SourceIPs) > 0 {
			c.set("IpAddress", "aws:SourceIp", g.SourceIPs...)
		}
		if g.MFA {
			c.set("Bool", "aws:MultiFactorAuthPresent", "true")
		}
		if g.MFAWithin > 0 {
			c.set("NumericLessThan", "aws:MultiFactorAuthAge", strconv.FormatInt(int64(g.MFAWithin/time.Second), 10))
		}
		if !g.NotBefore.IsZero() {
			c.set("DateGreaterThanEquals", "aws:CurrentTime", g.NotBefore.UTC().Format(time.RFC3339))
		}
		if !g.NotAfter.IsZero() {
			c.set("DateLessThan", "aws:CurrentTime", g.NotAfter.UTC().Format(time.RFC3339))
		}
		for _, name := range g.During {
			c.set("Bool", "sekisho:Calendar/"+name, "true")
		}
		for _, name := range g.Except {
			c.set("Bool", "sekisho:Calendar/"+name, "false")
		}
	}, nil
}

var days = []string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}

// weekdayNumbers parses weekdays and ranges of them, and returns them sorted without duplicates.
func weekdayNumbers(list []string) ([]int, error) {
	chosen := map[int]bool{}
	index := func(name string) (int, error) {
		i := slices.IndexFunc(days, func(d string) bool { return strings.EqualFold(d, strings.TrimSpace(name)) })
		if i < 0 {
			return 0, policy.NotAWeekday(strings.TrimSpace(name))
		}
		return i, nil
	}
	for _, item := range list {
		first, last, isRange := strings.Cut(item, "-")
		if !isRange {
			last = first
		}
		from, err := index(first)
		if err != nil {
			return nil, err
		}
		to, err := index(last)
		if err != nil {
			return nil, err
		}
		for i := from; ; i = (i + 1) % len(days) {
			chosen[i] = true
			if i == to {
				break
			}
		}
	}
	var out []int
	for i := range days {
		if chosen[i] {
			out = append(out, i)
		}
	}
	return out, nil
}

// addDays returns the date some days after a valid one.
func addDays(date string, days int) string {
	t, _ := time.Parse(time.DateOnly, date) // cannot fail: it is valid
	return t.AddDate(0, 0, days).Format(time.DateOnly)
}

// windows returns the conditions on weekday and time of day: one set, or two
// for a window across midnight, whose second part is on the next day.
func (g *Grant) windows() ([]func(conditions), error) {
	chosen, err := weekdayNumbers(g.Weekdays)
	if err != nil {
		return nil, err
	}
	if len(chosen) == 0 && g.From == "" && g.To == "" && g.FirstDay == "" && g.LastDay == "" {
		if g.Zone != "" {
			return nil, errors.New("a time zone requires weekdays, times of day or days")
		}
		return []func(conditions){func(conditions) {}}, nil
	}
	if g.Zone == "" {
		return nil, errors.New("weekdays, times of day and days require a time zone, such as Asia/Tokyo or UTC")
	}
	if _, err := policy.LoadZone(g.Zone); err != nil {
		return nil, err
	}
	for _, t := range []string{g.From, g.To} {
		if t == "" {
			continue
		}
		if err := policy.CheckTimeOfDay(t); err != nil {
			return nil, err
		}
	}
	for _, day := range []string{g.FirstDay, g.LastDay} {
		if day == "" {
			continue
		}
		if err := policy.CheckDate(day); err != nil {
			return nil, err
		}
	}
	if g.FirstDay != "" && g.LastDay != "" && g.LastDay < g.FirstDay {
		return nil, fmt.Errorf("the last day %s is before the first day %s", g.LastDay, g.FirstDay)
	}
	if g.To == "00:00" || g.To == "00:00:00" {
		g.To = "24:00" // a window up to midnight ends with its own day
	}
	if g.From != "" && g.From == g.To {
		return nil, fmt.Errorf("the window from %s to %s is empty", g.From, g.To)
	}
	part := func(shift int, from, to string) func(conditions) {
		return func(c conditions) {
			if len(chosen) > 0 && len(chosen) < len(days) {
				var names []string
				for _, i := range chosen {
					names = append(names, days[(i+shift)%len(days)])
				}
				c.set("StringEquals", "sekisho:Weekday/"+g.Zone, names...)
			}
			// The part after midnight of a window belongs to the day before.
			if g.FirstDay != "" {
				c.set("DateGreaterThanEquals", "sekisho:Date/"+g.Zone, addDays(g.FirstDay, shift))
			}
			if g.LastDay != "" {
				c.set("DateLessThanEquals", "sekisho:Date/"+g.Zone, addDays(g.LastDay, shift))
			}
			if from != "" {
				c.set("DateGreaterThanEquals", "sekisho:TimeOfDay/"+g.Zone, from)
			}
			if to != "" {
				c.set("DateLessThan", "sekisho:TimeOfDay/"+g.Zone, to)
			}
		}
	}
	if g.From == "" || g.To == "" || g.From < g.To {
		return []func(conditions){part(0, g.From, g.To)}, nil
	}
	return []func(conditions){part(0, g.From, ""), part(1, "", g.To)}, nil
}
