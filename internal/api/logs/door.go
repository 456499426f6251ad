// Package logs is the CloudWatch Logs door over [sekisho/internal/storage/loggroup].
package logs

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/storage/loggroup"
	"sekisho/internal/wire/awsproto"
)

// Config is the configuration of the door.
type Config struct {
	Logs    *loggroup.Service
	Account string
	Region  string
}

type door struct{ Config }

// New returns the door.
func New(cfg Config) *api.Door {
	d := &door{cfg}
	return &api.Door{
		Service: "logs", Protocol: awsproto.JSON,
		Errors: map[sekisho.Code]string{
			sekisho.CodeInvalid: "InvalidParameterException", sekisho.CodeConflict: "ResourceAlreadyExistsException",
			sekisho.CodeMalformedPolicy: "InvalidParameterException",
		},
		Operations: map[string]api.Operation{
			"CreateLogGroup":        api.Write(d.createLogGroup),
			"DeleteLogGroup":        api.Write(d.deleteLogGroup),
			"DescribeLogGroups":     api.Read(d.describeLogGroups),
			"PutRetentionPolicy":    api.Write(d.putRetentionPolicy),
			"DeleteRetentionPolicy": api.Write(d.deleteRetentionPolicy),
			"AssociateKmsKey":       api.Write(d.associateKMSKey),
			"DisassociateKmsKey":    api.Write(d.disassociateKMSKey),
			"CreateLogStream":       api.Write(d.createLogStream),
			"DescribeLogStreams":    api.Read(d.describeLogStreams),
			"DeleteLogStream":       api.Write(d.deleteLogStream),
			"PutLogEvents":          api.Write(d.putLogEvents, api.MaxBody(awsproto.MaxBody)),
			"GetLogEvents":          api.Read(d.getLogEvents),
			"FilterLogEvents":       api.Read(d.filterLogEvents),
			"TagResource":           api.Write(d.tagResource),
			"UntagResource":         api.Write(d.untagResource),
			"ListTagsForResource":   api.Read(d.listTags),
			"ListLogGroups":         api.Read(d.listLogGroups),
			// Predecessors of the operations on resources. Clients still use them.
			"TagLogGroup":      api.Write(d.tagLogGroup),
			"UntagLogGroup":    api.Write(d.untagLogGroup),
			"ListTagsLogGroup": api.Read(d.listTagsLogGroup),
		},
	}
}

func (d *door) arn(group string) string {
	return "arn:aws:logs:" + d.Region + ":" + d.Account + ":log-group:" + group
}

// onGroup authorizes an action on a group. Policies name a group as NAME or as
// NAME:*, and either form grants.
func (d *door) onGroup(ctx context.Context, c *api.Call, action, group string, keys ...authz.Key) error {
	return c.AuthorizeAny(ctx, action, []string{d.arn(group) + ":log-stream:", d.arn(group)}, keys...)
}

func (d *door) onStream(ctx context.Context, c *api.Call, action, group, stream string) error {
	return c.Authorize(ctx, action, d.arn(group)+":log-stream:"+stream)
}

// groupOf returns the name of a group that is given by name or ARN.
func (d *door) groupOf(name, identifier string) (string, error) {
	if name != "" && identifier != "" {
		return "", sekisho.Errorf(sekisho.CodeInvalid, "LogGroup name and LogGroup ARN cannot both be given.")
	}
	if name == "" {
		name = identifier
	}
	if strings.HasPrefix(name, "arn:") {
		group, ok := strings.CutPrefix(strings.TrimSuffix(name, ":*"), d.arn(""))
		if !ok {
			return "", sekisho.Errorf(sekisho.CodeNotFound, "The specified log group does not exist.")
		}
		name = group
	}
	if name == "" {
		return "", sekisho.Errorf(sekisho.CodeInvalid, "logGroupName is missing.")
	}
	return name, nil
}

type empty struct{}

type groupRequest struct {
	LogGroupName       string            `json:"logGroupName"`
	LogGroupIdentifier string            `json:"logGroupIdentifier"`
	ResourceIdentifier string            `json:"resourceIdentifier"`
	LogStreamName      string            `json:"logStreamName"`
	KMSKeyID           string            `json:"kmsKeyId"`
	LogGroupClass      string            `json:"logGroupClass"`
	Tags               map[string]string `json:"tags"`
	RetentionInDays    int               `json:"retentionInDays"`
}

func (d *door) createLogGroup(ctx context.Context, c *api.Call, in *groupRequest) (*empty, error) {
	if in.LogGroupClass != "" && in.LogGroupClass != standardClass {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "The only supported log group class is STANDARD.")
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	if err := d.onGroup(ctx, c, "logs:CreateLogGroup", in.LogGroupName, authz.RequestTags(in.Tags)...); err != nil {
		return nil, err
	}
	return &empty{}, d.Logs.CreateGroup(ctx, loggroup.Group{Name: in.LogGroupName, KMSKey: in.KMSKeyID, Tags: in.Tags})
}

func (d *door) deleteLogGroup(ctx context.Context, c *api.Call, in *groupRequest) (*empty, error) {
	if err := d.onGroup(ctx, c, "logs:DeleteLogGroup", in.LogGroupName); err != nil {
		return nil, err
	}
	return &empty{}, d.Logs.DeleteGroup(ctx, in.LogGroupName)
}

type describeGroupsRequest struct {
	Prefix    string `json:"logGroupNamePrefix"`
	Pattern   string `json:"logGroupNamePattern"`
	NextToken string `json:"nextToken"`
	Limit     *int   `json:"limit"`
}

type groupAnswer struct {
	LogGroupName      string `json:"logGroupName"`
	CreationTime      int64  `json:"creationTime"`
	RetentionInDays   int    `json:"retentionInDays,omitempty"`
	MetricFilterCount int    `json:"metricFilterCount"`
	ARN               string `json:"arn"`
	StoredBytes       int64  `json:"storedBytes"`
	KMSKeyID          string `json:"kmsKeyId,omitempty"`
	LogGroupClass     string `json:"logGroupClass"`
	LogGroupARN       string `json:"logGroupArn"`
}

type describeGroupsAnswer struct {
	LogGroups []groupAnswer `json:"logGroups"`
	NextToken string        `json:"nextToken,omitempty"`
}

// limitOf returns the page size of a request.
func limitOf(asked *int, most int) (int, error) {
	if asked == nil {
		return most, nil
	}
	if *asked < 1 || *asked > most {
		return 0, sekisho.Errorf(
			sekisho.CodeInvalid,
			"1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must have value "+
				"between 1 and %d",
			*asked,
			most,
		)
	}
	return *asked, nil
}

func (d *door) describeLogGroups(ctx context.Context, c *api.Call, in *describeGroupsRequest) (*describeGroupsAnswer,
	error) {
	limit, err := limitOf(in.Limit, 50)
	if err != nil {
		return nil, err
	}
	if in.Prefix != "" && in.Pattern != "" {
		return nil, sekisho.Errorf(sekisho.CodeInvalid,
			"LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
	}
	if err := c.Authorize(ctx, "logs:DescribeLogGroups", "*"); err != nil {
		return nil, err
	}
	after, err := readToken(in.NextToken)
	if err != nil {
		return nil, err
	}
	out := &describeGroupsAnswer{LogGroups: []groupAnswer{}}
	match := func(name string) bool { return strings.Contains(name, in.Pattern) }
	groups, next, err := d.page(ctx, in.Prefix, after, limit, match)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		out.LogGroups = append(out.LogGroups, groupAnswer{
			LogGroupName: g.Name, CreationTime: g.CreatedAt.UnixMilli(), RetentionInDays: g.Retention, KMSKeyID: g.KMSKey,
			ARN: d.arn(g.Name) + ":*", LogGroupARN: d.arn(g.Name), LogGroupClass: standardClass,
		})
	}
	out.NextToken = next
	return out, nil
}

// page returns one page of matching groups; next is the token of the next page, "" after the last.
func (d *door) page(ctx context.Context, prefix, after string, limit int,
	match func(name string) bool) (page []*loggroup.Group, next string, err error) {
	for {
		groups, err := d.Logs.Groups(ctx, prefix, after, 100)
		if err != nil || len(groups) == 0 {
			return page, "", err
		}
		for _, g := range groups {
			if match(g.Name) {
				if len(page) == limit {
					return page, makeToken(after), nil
				}
				page = append(page, g)
			}
			after = g.Name
		}
	}
}

// standardClass is the only supported class of log groups.
const standardClass = "STANDARD"

type listGroupsRequest struct {
	Pattern               string   `json:"logGroupNamePattern"`
	Class                 string   `json:"logGroupClass"`
	IncludeLinkedAccounts bool     `json:"includeLinkedAccounts"`
	AccountIdentifiers    []string `json:"accountIdentifiers"`
	DataSources           []empty  `json:"dataSources"`
	FieldIndexNames       []string `json:"fieldIndexNames"`
	NextToken             string   `json:"nextToken"`
	Limit                 *int     `json:"limit"`
}

type listedGroup struct {
	LogGroupName  string `json:"logGroupName"`
	LogGroupARN   string `json:"logGroupArn"`
	LogGroupClass string `json:"logGroupClass"`
}

type listGroupsAnswer struct {
	LogGroups []listedGroup `json:"logGroups"`
	NextToken string        `json:"nextToken,omitempty"`
}

// maxListed is the largest page of ListLogGroups.
const maxListed = 1000

func (d *door) listLogGroups(ctx context.Context, c *api.Call, in *listGroupsRequest) (*listGroupsAnswer, error) {
	limit := 50
	if in.Limit != nil {
		var err error
		if limit, err = limitOf(in.Limit, maxListed); err != nil {
			return nil, err
		}
	}
	if in.IncludeLinkedAccounts || len(in.DataSources) > 0 || len(in.FieldIndexNames) > 0 {
		return nil, sekisho.Errorf(
			sekisho.CodeInvalid,
			"includeLinkedAccounts, dataSources and fieldIndexNames are not supported. Omit them.",
		)
	}
	match, err := groupPattern(in.Pattern)
	if err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "logs:ListLogGroups", "*"); err != nil {
		return nil, err
	}
	after, err := readToken(in.NextToken)
	if err != nil {
		return nil, err
	}
	out := &listGroupsAnswer{LogGroups: []listedGroup{}}
	if in.Class != "" && in.Class != standardClass || len(in.AccountIdentifiers) > 0 &&
		!slices.Contains(in.AccountIdentifiers, d.Account) {
		return out, nil
	}
	groups, next, err := d.page(ctx, "", after, limit, match)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		out.LogGroups = append(out.LogGroups, listedGroup{g.Name, d.arn(g.Name), standardClass})
	}
	out.NextToken = next
	return out, nil
}

// groupPattern parses the pattern of ListLogGroups: up to five alternatives, each preceded by a
// caret if it is a prefix of the name.
func groupPattern(pattern string) (func(name string) bool, error) {
	if pattern == "" {
		return func(string) bool { return true }, nil
	}
	alternatives := strings.Split(pattern, "|")
	for _, a := range alternatives {
		if text := strings.TrimPrefix(a, "^"); len(text) < 3 || len(text) > 24 || !loggroup.ValidGroupName(text) ||
			len(alternatives) > 5 {
			return nil, sekisho.Errorf(
				sekisho.CodeInvalid,
				"The pattern %q is not valid: it can have up to five alternatives of 3 to 24 characters of log group names.",
				pattern,
			)
		}
	}
	return func(name string) bool {
		return slices.ContainsFunc(alternatives, func(a string) bool {
			if text, ok := strings.CutPrefix(a, "^"); ok {
				return strings.HasPrefix(name, text)
			}
			return strings.Contains(name, a)
		})
	}, nil
}

func makeToken(after string) string {
	return base64.RawURLEncoding.EncodeToString([]byte("1" + after))
}

var errToken = sekisho.Errorf(sekisho.CodeInvalid, "The specified nextToken is invalid.")

func readToken(token string) (string, error) {
	if token == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < 2 || b[0] != '1' {
		return "", errToken
	}
	return string(b[1:]), nil
}

func (d *door) putRetentionPolicy(ctx context.Context, c *api.Call, in *groupRequest) (*empty, error) {
	if err := d.onGroup(ctx, c, "logs:PutRetentionPolicy", in.LogGroupName); err != nil {
		return nil, err
	}
	if in.RetentionInDays == 0 {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "retentionInDays is missing.")
	}
	return &empty{}, d.Logs.SetRetention(ctx, in.LogGroupName, in.RetentionInDays)
}

func (d *door) deleteRetentionPolicy(ctx context.Context, c *api.Call, in *groupRequest) (*empty, error) {
	if err := d.onGroup(ctx, c, "logs:DeleteRetentionPolicy", in.LogGroupName); err != nil {
		return nil, err
	}
	return &empty{}, d.Logs.SetRetention(ctx, in.LogGroupName, 0)
}

func (d *door) associateKMSKey(ctx context.Context, c *api.Call, in *groupRequest) (*empty, error) {
	if in.KMSKeyID == "" {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "kmsKeyId is missing.")
	}
	return d.setKey(ctx, c, "logs:AssociateKmsKey", in, in.KMSKeyID)
}

func (d *door) disassociateKMSKey(ctx context.Context, c *api.Call, in *groupRequest) (*empty, error) {
	return d.setKey(ctx, c, "logs:DisassociateKmsKey", in, "")
}

func (d *door) setKey(ctx context.Context, c *api.Call, action string, in *groupRequest, key string) (*empty, error) {
	group, err := d.groupOf(in.LogGroupName, in.ResourceIdentifier)
	if err != nil {
		return nil, err
	}
	if err := d.onGroup(ctx, c, action, group); err != nil {
		return nil, err
	}
	return &empty{}, d.Logs.UpdateGroup(ctx, group, func(g *loggroup.Group) error { g.KMSKey = key; return nil })
}

func (d *door) createLogStream(ctx context.Context, c *api.Call, in *groupRequest) (*empty, error) {
	if err := d.onGroup(ctx, c, "logs:CreateLogStream", in.LogGroupName); err != nil {
		return nil, err
	}
	return &empty{}, d.Logs.CreateStream(ctx, in.LogGroupName, in.LogStreamName)
}

func (d *door) deleteLogStream(ctx context.Context, c *api.Call, in *groupRequest) (*empty, error) {
	if err := d.onStream(ctx, c, "logs:DeleteLogStream", in.LogGroupName, in.LogStreamName); err != nil {
		return nil, err
	}
	return &empty{}, d.Logs.DeleteStream(ctx, in.LogGroupName, in.LogStreamName)
}

type describeStreamsRequest struct {
	LogGroupName       string `json:"logGroupName"`
	LogGroupIdentifier string `json:"logGroupIdentifier"`
	Prefix             string `json:"logStreamNamePrefix"`
	OrderBy            string `json:"orderBy"`
	Descending         bool   `json:"descending"`
	NextToken          string `json:"nextToken"`
	Limit              *int   `json:"limit"`
}

type streamAnswer struct {
	LogStreamName       string `json:"logStreamName"`
	CreationTime        int64  `json:"creationTime"`
	FirstEventTimestamp int64  `json:"firstEventTimestamp,omitempty"`
	LastEventTimestamp  int64  `json:"lastEventTimestamp,omitempty"`
	LastIngestionTime   int64  `json:"lastIngestionTime,omitempty"`
	UploadSequenceToken string `json:"uploadSequenceToken"`
	ARN                 string `json:"arn"`
	StoredBytes         int64  `json:"storedBytes"`
}

type describeStreamsAnswer struct {
	LogStreams []streamAnswer `json:"logStreams"`
	NextToken  string         `json:"nextToken,omitempty"`
}

// sequenceToken is for old clients, which send it back. Its value has no meaning.
const sequenceToken = "49590000000000000000000000000000000000000000000000000000"

func (d *door) describeLogStreams(ctx context.Context, c *api.Call,
	in *describeStreamsRequest) (*describeStreamsAnswer, error) {
	limit, err := limitOf(in.Limit, 50)
	if err != nil {
		return nil, err
	}
	group, err := d.groupOf(in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	switch {
	case in.OrderBy != "" && in.OrderBy != "LogStreamName" && in.OrderBy != "LastEventTime":
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "orderBy must be LogStreamName or LastEventTime.")
	case in.OrderBy == "LastEventTime" && in.Prefix != "":
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	if err := d.onGroup(ctx, c, "logs:DescribeLogStreams", group); err != nil {
		return nil, err
	}
	q := loggroup.StreamQuery{
		Group: group, Prefix: in.Prefix, ByLastEvent: in.OrderBy == "LastEventTime", Descending: in.Descending,
		Limit: limit + 1,
	}
	if q.After, err = streamPlace(in.NextToken); err != nil {
		return nil, err
	}
	streams, err := d.Logs.Streams(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &describeStreamsAnswer{LogStreams: []streamAnswer{}}
	for i, s := range streams {
		if i == limit {
			out.NextToken = streamToken(streams[i-1])
			break
		}
		out.LogStreams = append(out.LogStreams, streamAnswer{
			LogStreamName: s.Name, CreationTime: s.CreatedAt.UnixMilli(), FirstEventTimestamp: millis(s.FirstEvent),
			LastEventTimestamp: millis(s.LastEvent), LastIngestionTime: millis(s.LastIngestion),
			UploadSequenceToken: sequenceToken,
			ARN:                 d.arn(group) + ":log-stream:" + s.Name,
		})
	}
	return out, nil
}

// streamToken is the token of the page after s.
func streamToken(s *loggroup.Stream) string {
	at := int64(0) // there is no event
	if !s.LastEvent.IsZero() {
		at = s.LastEvent.UnixMicro()
	}
	return makeToken(fmt.Sprintf("%d %s", at, s.Name))
}

func streamPlace(token string) (p loggroup.StreamPlace, err error) {
	if token == "" {
		return p, nil
	}
	text, err := readToken(token)
	if err != nil {
		return p, err
	}
	at, name, _ := strings.Cut(text, " ")
	us, err := strconv.ParseInt(at, 10, 64)
	if err != nil || name == "" {
		return p, errToken
	}
	p.Name = name
	if us != 0 {
		p.LastEvent = time.UnixMicro(us).UTC()
	}
	return p, nil
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

type putEventsRequest struct {
	LogGroupName  string `json:"logGroupName"`
	LogStreamName string `json:"logStreamName"`
	SequenceToken string `json:"sequenceToken"`
	LogEvents     []struct {
		Timestamp int64  `json:"timestamp"`
		Message   string `json:"message"`
	} `json:"logEvents"`
}

type rejectedAnswer struct {
	TooNewStart *int `json:"tooNewLogEventStartIndex,omitempty"`
	TooOldEnd   *int `json:"tooOldLogEventEndIndex,omitempty"`
	ExpiredEnd  *int `json:"expiredLogEventEndIndex,omitempty"`
}

type putEventsAnswer struct {
	NextSequenceToken string          `json:"nextSequenceToken"`
	Rejected          *rejectedAnswer `json:"rejectedLogEventsInfo,omitempty"`
}

func (d *door) putLogEvents(ctx context.Context, c *api.Call, in *putEventsRequest) (*putEventsAnswer, error) {
	c.SetParams(map[string]any{"logGroupName": in.LogGroupName, "logStreamName": in.LogStreamName,
		"logEvents": len(in.LogEvents)})
	if err := d.onStream(ctx, c, "logs:PutLogEvents", in.LogGroupName, in.LogStreamName); err != nil {
		return nil, err
	}
	batch := make([]loggroup.Event, 0, len(in.LogEvents))
	for _, e := range in.LogEvents {
		if e.Timestamp < 0 || e.Timestamp > maxMillis {
			return nil, sekisho.Errorf(
				sekisho.CodeInvalid,
				"The timestamp %d is not a time in milliseconds since 1970.",
				e.Timestamp,
			)
		}
		batch = append(batch, loggroup.Event{Time: time.UnixMilli(e.Timestamp).UTC(), Message: []byte(e.Message)})
	}
	rejected, err := d.Logs.Put(ctx, in.LogGroupName, in.LogStreamName, batch)
	if err != nil {
		return nil, err
	}
	out := &putEventsAnswer{NextSequenceToken: sequenceToken}
	if rejected.Any() {
		out.Rejected = &rejectedAnswer{
			index(rejected.TooNewStart),
			index(rejected.TooOldEnd),
			index(rejected.ExpiredEnd),
		}
	}
	return out, nil
}

func index(n int) *int {
	if n < 0 {
		return nil
	}
	return &n
}

// maxMillis is the end of the year 9999.
const maxMillis = 253402300799999

type eventsRequest struct {
	LogGroupName       string   `json:"logGroupName"`
	LogGroupIdentifier string   `json:"logGroupIdentifier"`
	LogStreamName      string   `json:"logStreamName"`
	LogStreamNames     []string `json:"logStreamNames"`
	Prefix             string   `json:"logStreamNamePrefix"`
	StartTime          *int64   `json:"startTime"`
	EndTime            *int64   `json:"endTime"`
	FilterPattern      string   `json:"filterPattern"`
	NextToken          string   `json:"nextToken"`
	Limit              *int     `json:"limit"`
	StartFromHead      bool     `json:"startFromHead"`
}

// query parses the parameters that GetLogEvents and FilterLogEvents share.
func (d *door) query(in *eventsRequest) (loggroup.Query, int, error) {
	q := loggroup.Query{}
	limit, err := limitOf(in.Limit, loggroup.MaxEvents)
	if err != nil {
		return q, 0, err
	}
	if q.Group, err = d.groupOf(in.LogGroupName, in.LogGroupIdentifier); err != nil {
		return q, 0, err
	}
	for _, x := range []struct {
		at   *int64
		into *time.Time
	}{{in.StartTime, &q.Start}, {in.EndTime, &q.End}} {
		if x.at == nil {
			continue
		}
		if *x.at < 0 || *x.at > maxMillis {
			return q, 0, sekisho.Errorf(sekisho.CodeInvalid, "%d is not a time in milliseconds since 1970.", *x.at)
		}
		*x.into = time.UnixMilli(*x.at)
	}
	return q, limit, nil
}

type eventAnswer struct {
	LogStreamName string `json:"logStreamName,omitempty"`
	Timestamp     int64  `json:"timestamp"`
	Message       string `json:"message"`
	IngestionTime int64  `json:"ingestionTime"`
	EventID       string `json:"eventId,omitempty"`
}

type getEventsAnswer struct {
	Events            []eventAnswer `json:"events"`
	NextForwardToken  string        `json:"nextForwardToken"`
	NextBackwardToken string        `json:"nextBackwardToken"`
}

func placeToken(direction string, p loggroup.Place) string {
	return fmt.Sprintf("%s/%d/%d", direction, p.Time.UnixMilli(), p.Seq)
}

func readPlace(token string) (direction string, p loggroup.Place, err error) {
	parts := strings.Split(token, "/")
	bad := sekisho.Errorf(sekisho.CodeInvalid, "The specified nextToken is invalid.")
	if len(parts) != 3 || parts[0] != "f" && parts[0] != "b" {
		return "", p, bad
	}
	at, err1 := strconv.ParseInt(parts[1], 10, 64)
	seq, err2 := strconv.ParseInt(parts[2], 10, 64)
	if err1 != nil || err2 != nil || at < 0 || at > maxMillis+1 || seq < 0 {
		return "", p, bad
	}
	return parts[0], loggroup.Place{Time: time.UnixMilli(at).UTC(), Seq: seq}, nil
}

func (d *door) getLogEvents(ctx context.Context, c *api.Call, in *eventsRequest) (*getEventsAnswer, error) {
	q, limit, err := d.query(in)
	if err != nil {
		return nil, err
	}
	if in.LogStreamName == "" {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "logStreamName is missing.")
	}
	if err := d.onStream(ctx, c, "logs:GetLogEvents", q.Group, in.LogStreamName); err != nil {
		return nil, err
	}
	q.Streams = []string{in.LogStreamName}
	q.Backward = !in.StartFromHead
	// An empty page without a token is before all events.
	first, last := loggroup.Place{Time: time.UnixMilli(0)}, loggroup.Place{Time: time.UnixMilli(0)}
	if in.NextToken != "" {
		direction, place, err := readPlace(in.NextToken)
		if err != nil {
			return nil, err
		}
		q.After, q.Backward = &place, direction == "b"
		first, last = place, place
	}
	found, err := d.Logs.Find(ctx, q, limit, loggroup.Pattern{})
	if err != nil {
		return nil, err
	}
	out := &getEventsAnswer{Events: []eventAnswer{}}
	for i, e := range found.Events {
		if i == 0 {
			first = loggroup.Place{Time: e.Time, Seq: e.Seq}
		}
		last = loggroup.Place{Time: e.Time, Seq: e.Seq}
		out.Events = append(out.Events, eventAnswer{Timestamp: e.Time.UnixMilli(), Message: string(e.Message),
			IngestionTime: e.IngestedAt.UnixMilli()})
	}
	out.NextForwardToken, out.NextBackwardToken = placeToken("f", last), placeToken("b", first)
	return out, nil
}

type filterAnswer struct {
	Events             []eventAnswer `json:"events"`
	NextToken          string        `json:"nextToken,omitempty"`
	SearchedLogStreams []empty       `json:"searchedLogStreams"`
}

func (d *door) filterLogEvents(ctx context.Context, c *api.Call, in *eventsRequest) (*filterAnswer, error) {
	q, limit, err := d.query(in)
	if err != nil {
		return nil, err
	}
	pattern, err := loggroup.ParsePattern(in.FilterPattern)
	if err != nil {
		return nil, err
	}
	if len(in.LogStreamNames) > 0 && in.Prefix != "" {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "logStreamNames and logStreamNamePrefix cannot both be given.")
	}
	if len(in.LogStreamNames) > 100 {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "logStreamNames can have at most 100 names.")
	}
	if err := d.onGroup(ctx, c, "logs:FilterLogEvents", q.Group); err != nil {
		return nil, err
	}
	if len(in.LogStreamNames) > 0 {
		q.Streams = in.LogStreamNames
	}
	q.Prefix = in.Prefix
	if in.NextToken != "" {
		direction, place, err := readPlace(in.NextToken)
		if err != nil || direction != "f" {
			return nil, sekisho.Errorf(sekisho.CodeInvalid, "The specified nextToken is invalid.")
		}
		q.After = &place
	}
	found, err := d.Logs.Find(ctx, q, limit, pattern)
	if err != nil {
		return nil, err
	}
	out := &filterAnswer{Events: []eventAnswer{}, SearchedLogStreams: []empty{}}
	for _, e := range found.Events {
		out.Events = append(out.Events, eventAnswer{
			LogStreamName: e.Stream, Timestamp: e.Time.UnixMilli(), Message: string(e.Message),
			IngestionTime: e.IngestedAt.UnixMilli(),
			EventID:       fmt.Sprintf("%020d%036d", e.Time.UnixMilli(), e.Seq),
		})
	}
	if found.Next != nil {
		out.NextToken = placeToken("f", *found.Next)
	}
	return out, nil
}

type tagRequest struct {
	ResourceARN string            `json:"resourceArn"`
	Tags        map[string]string `json:"tags"`
	TagKeys     []string          `json:"tagKeys"`
}

type tagsAnswer struct {
	Tags map[string]string `json:"tags"`
}

func checkTags(tags map[string]string) error {
	if len(tags) > 50 {
		return sekisho.Errorf(sekisho.CodeInvalid, "A log group can have at most 50 tags.")
	}
	for k, v := range tags {
		if k == "" || len([]rune(k)) > 128 || len([]rune(v)) > 256 || strings.HasPrefix(k, "aws:") {
			return sekisho.Errorf(sekisho.CodeInvalid,
				"A tag key must have 1 to 128 characters and not begin with aws:. A tag value can have up to 256 characters.")
		}
	}
	return nil
}

func (d *door) tagResource(ctx context.Context, c *api.Call, in *tagRequest) (*empty, error) {
	group, err := d.groupOf("", in.ResourceARN)
	if err != nil {
		return nil, err
	}
	return d.tag(ctx, c, "logs:TagResource", group, in.Tags)
}

type tagGroupRequest struct {
	LogGroupName string            `json:"logGroupName"`
	Tags         map[string]string `json:"tags"`
}

func (d *door) tagLogGroup(ctx context.Context, c *api.Call, in *tagGroupRequest) (*empty, error) {
	return d.tag(ctx, c, "logs:TagLogGroup", in.LogGroupName, in.Tags)
}

func (d *door) tag(ctx context.Context, c *api.Call, action, group string, tags map[string]string) (*empty, error) {
	if err := d.onGroup(ctx, c, action, group, authz.RequestTags(tags)...); err != nil {
		return nil, err
	}
	return &empty{}, d.Logs.UpdateGroup(ctx, group, func(g *loggroup.Group) error {
		if g.Tags == nil {
			g.Tags = map[string]string{}
		}
		maps.Copy(g.Tags, tags)
		return checkTags(g.Tags)
	})
}

func (d *door) untagResource(ctx context.Context, c *api.Call, in *tagRequest) (*empty, error) {
	group, err := d.groupOf("", in.ResourceARN)
	if err != nil {
		return nil, err
	}
	return d.untag(ctx, c, "logs:UntagResource", group, in.TagKeys)
}

type untagGroupRequest struct {
	LogGroupName string   `json:"logGroupName"`
	Tags         []string `json:"tags"`
}

func (d *door) untagLogGroup(ctx context.Context, c *api.Call, in *untagGroupRequest) (*empty, error) {
	return d.untag(ctx, c, "logs:UntagLogGroup", in.LogGroupName, in.Tags)
}

func (d *door) untag(ctx context.Context, c *api.Call, action, group string, tagKeys []string) (*empty, error) {
	if err := d.onGroup(ctx, c, action, group, authz.Many("aws:TagKeys", tagKeys)); err != nil {
		return nil, err
	}
	return &empty{}, d.Logs.UpdateGroup(ctx, group, func(g *loggroup.Group) error {
		for _, k := range tagKeys {
			delete(g.Tags, k)
		}
		return nil
	})
}

func (d *door) listTags(ctx context.Context, c *api.Call, in *tagRequest) (*tagsAnswer, error) {
	group, err := d.groupOf("", in.ResourceARN)
	if err != nil {
		return nil, err
	}
	return d.tagsOf(ctx, c, "logs:ListTagsForResource", group)
}

func (d *door) listTagsLogGroup(ctx context.Context, c *api.Call, in *tagGroupRequest) (*tagsAnswer, error) {
	return d.tagsOf(ctx, c, "logs:ListTagsLogGroup", in.LogGroupName)
}

func (d *door) tagsOf(ctx context.Context, c *api.Call, action, group string) (*tagsAnswer, error) {
	if err := d.onGroup(ctx, c, action, group); err != nil {
		return nil, err
	}
	g, err := d.Logs.Group(ctx, group)
	if err != nil {
		return nil, err
	}
	out := &tagsAnswer{Tags: map[string]string{}}
	maps.Copy(out.Tags, g.Tags)
	return out, nil
}
