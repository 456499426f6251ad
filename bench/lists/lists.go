package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"time"
)

// list is one list with one filter.
type list struct {
	name, filter string
	service      string
	operation    string            // X-Amz-Target
	query        map[string]string // the parameters, in place of an operation
	method, path string            // of the REST protocol, in place of both
	body         string
	tokenIn      string // the name of the next page's token in a request
	tokenOut     string // and in a response
	want         string // in every response
}

func maps(m map[string]string) url.Values {
	form := url.Values{}
	for k, v := range m {
		form.Set(k, v)
	}
	return form
}

// next returns the token of the next page.
func (l *list) next(answer []byte) string {
	if l.tokenOut == "" {
		return ""
	}
	if l.query != nil || l.path != "" {
		m := regexp.MustCompile("<" + l.tokenOut + ">([^<]*)</").FindSubmatch(answer)
		if m == nil {
			return ""
		}
		return string(m[1])
	}
	out := map[string]json.RawMessage{}
	token := ""
	if json.Unmarshal(answer, &out) != nil || json.Unmarshal(out[l.tokenOut], &token) != nil {
		return ""
	}
	return token
}

// lists returns every list with every filter.
func lists(nodes int) []list {
	var all []list
	add := func(name, service, operation, tokens, want string, filters map[string]string, order ...string) {
		for _, f := range order {
			all = append(all, list{
				name: name, filter: f, service: service, operation: operation, body: filters[f],
				tokenIn: tokens, tokenOut: tokens, want: want,
			})
		}
	}
	last := fmt.Sprintf("mi-%017x", nodes)
	filter := func(key, value string) string {
		return fmt.Sprintf(`{"Filters":[{"Key":%q,"Values":[%q]}]}`, key, value)
	}
	add("nodes", "ssm", "AmazonSSM.DescribeInstanceInformation", "NextToken", "InstanceInformationList", map[string]string{
		"none": `{}`, "InstanceIds": filter("InstanceIds", last), "tag, rare": filter("tag:Env", "rare"),
		"tag, none":     filter("tag:Env", "no"),
		"PlatformTypes": filter("PlatformTypes", "Linux"), "AgentVersion": filter("AgentVersion", "3.7"),
		"PingStatus": filter("PingStatus", "Online"), "IamRole": filter("IamRole", "role-9"),
	}, "none", "InstanceIds", "tag, rare", "tag, none", "PlatformTypes", "AgentVersion", "PingStatus", "IamRole")
	session := func(state, key, value string) string {
		return fmt.Sprintf(`{"State":%q,"Filters":[{"key":%q,"value":%q}]}`, state, key, value)
	}
	day := time.Now().Add(-24 * time.Hour).UTC().Format(time.RFC3339)
	add("sessions", "ssm", "AmazonSSM.DescribeSessions", "NextToken", "Sessions", map[string]string{
		"none": `{"State":"History"}`, "active": `{"State":"Active"}`, "Target": session("History", "Target", last),
		"Owner":  session("History", "Owner", "arn:aws:iam::100000000000:user/user-7"),
		"Status": session("History", "Status", "Failed"), "InvokedAfter": session("History", "InvokedAfter", day),
		"InvokedBefore":    session("History", "InvokedBefore", day),
		"SessionId":        session("History", "SessionId", "bench-"+fmt.Sprintf("%026d", 9)),
		"AccessType, rare": session("History", "AccessType", "JustInTime"),
		"AccessType":       session("History", "AccessType", "Standard"),
	}, "none", "active", "Target", "Owner", "Status", "InvokedAfter", "InvokedBefore", "SessionId", "AccessType, rare",
		"AccessType")
	activation := func(key, value string) string {
		return fmt.Sprintf(`{"Filters":[{"FilterKey":%q,"FilterValues":[%q]}]}`, key, value)
	}
	add("activations", "ssm", "AmazonSSM.DescribeActivations", "NextToken", "ActivationList", map[string]string{
		"none": `{}`, "ActivationIds": activation("ActivationIds", "00000009-0000-4000-8000-000000000000"),
		"DefaultInstanceName": activation("DefaultInstanceName", "name-7"), "IamRole": activation("IamRole", "role-7"),
	}, "none", "ActivationIds", "DefaultInstanceName", "IamRole")
	document := func(key, value string) string { return filter(key, value) }
	add("documents", "ssm", "AmazonSSM.ListDocuments", "NextToken", "DocumentIdentifiers", map[string]string{
		"none": `{}`, "Name": document("Name", "Bench"), "Owner": document("Owner", "Self"),
		"PlatformTypes": document("PlatformTypes", "Linux"), "DocumentType": document("DocumentType", "Session"),
		"SearchKeyword": document("SearchKeyword", "bench"),
	}, "none", "Name", "Owner", "PlatformTypes", "DocumentType", "SearchKeyword")
	command := func(key, value string) string {
		return fmt.Sprintf(`{"Filters":[{"key":%q,"value":%q}]}`, key, value)
	}
	commands := map[string]string{
		"none": `{}`, "CommandId": `{"CommandId":"00000009-0000-4000-8000-000000000001"}`,
		"InstanceId": fmt.Sprintf(`{"InstanceId":%q}`, last),
		"Status":     command("Status", "Failed"), "DocumentName, rare": command("DocumentName", "Rare"),
		"DocumentName":   command("DocumentName", "AWS-RunShellScript"),
		"ExecutionStage": command("ExecutionStage", "Complete"), "InvokedBefore": command("InvokedBefore", day),
	}
	order := []string{"none", "CommandId", "InstanceId", "Status", "DocumentName, rare", "DocumentName", "ExecutionStage",
		"InvokedBefore"}
	add("commands", "ssm", "AmazonSSM.ListCommands", "NextToken", "Commands", commands, order...)
	add("invocations", "ssm", "AmazonSSM.ListCommandInvocations", "NextToken", "CommandInvocations", commands, order...)
	event := func(key, value string) string {
		return fmt.Sprintf(`{"LookupAttributes":[{"AttributeKey":%q,"AttributeValue":%q}]}`, key, value)
	}
	add("audit events", "cloudtrail", "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents", "NextToken",
		"Events",
		map[string]string{
			"none": `{}`, "EventName, rare": event("EventName", "RareEvent"), "EventName": event("EventName", "StartSession"),
			"Username": event("Username", "user-7"), "AccessKeyId": event("AccessKeyId", "AKIA7"),
			"EventSource": event("EventSource", "kms.amazonaws.com"), "ReadOnly": event("ReadOnly", "false"),
			"ResourceType": event("ResourceType", "AWS::KMS::Key"), "ResourceName": event("ResourceName", last),
			"EventId": event("EventId", "00000009-0000-7000-8000-000000000000"),
		}, "none", "EventName, rare", "EventName", "Username", "AccessKeyId", "EventSource", "ReadOnly", "ResourceType",
		"ResourceName", "EventId")
	add("log groups", "logs", "Logs_20140328.DescribeLogGroups", "nextToken", "logGroups", map[string]string{
		"none": `{}`, "prefix": `{"logGroupNamePrefix":"/bench/004"}`, "pattern": `{"logGroupNamePattern":"4999"}`,
	}, "none", "prefix", "pattern")
	add("log streams", "logs", "Logs_20140328.DescribeLogStreams", "nextToken", "logStreams", map[string]string{
		"none":          `{"logGroupName":"bench-group"}`,
		"prefix":        `{"logGroupName":"bench-group","logStreamNamePrefix":"stream-04"}`,
		"LastEventTime": `{"logGroupName":"bench-group","orderBy":"LastEventTime","descending":true}`,
	}, "none", "prefix", "LastEventTime")
	for filter, query := range map[string]string{"none": "", "prefix": "&prefix=folder-7/", "delimiter": "&delimiter=/"} {
		all = append(all, list{
			name: "objects", filter: filter, service: "s3", method: http.MethodGet, path: "/bench-lists?list-type=2" + query,
			tokenIn: "continuation-token", tokenOut: "NextContinuationToken", want: "ListBucketResult",
		})
	}
	for _, operation := range []string{"ListUsers", "ListGroups", "ListRoles", "ListPolicies", "ListAccessKeys"} {
		all = append(all, list{
			name: "IAM", filter: operation, service: "iam",
			query:   map[string]string{"Action": operation, "Version": "2010-05-08"},
			tokenIn: "Marker", tokenOut: "Marker", want: operation + "Result",
		})
	}
	return all
}

// benchUsers is how many users are created. The directory is in memory.
const benchUsers = 500

// prepare creates one row in each table, from which the others are copied.
func (c *caller) prepare() error {
	if err := c.connect(); err != nil {
		return err
	}
	nodes := &list{service: "ssm", operation: "AmazonSSM.DescribeInstanceInformation", body: `{}`}
	answer, err := c.call(nodes, "")
	if err != nil {
		return err
	}
	var found struct {
		InstanceInformationList []struct {
			ID string `json:"InstanceId"`
		}
	}
	if err := json.Unmarshal(answer, &found); err != nil || len(found.InstanceInformationList) == 0 {
		return fmt.Errorf("no node: %s: %w", answer, err)
	}
	node := found.InstanceInformationList[0].ID
	steps := []list{
		{service: "ssm", operation: "AmazonSSM.StartSession", body: fmt.Sprintf(`{"Target":%q}`, node)},
		{service: "ssm", operation: "AmazonSSM.SendCommand", body: fmt.Sprintf(
			`{"DocumentName":"AWS-RunShellScript","InstanceIds":[%q],"Parameters":{"commands":["true"]}}`, node)},
		{service: "logs", operation: "Logs_20140328.CreateLogGroup", body: `{"logGroupName":"bench-group"}`},
		{service: "logs", operation: "Logs_20140328.CreateLogStream",
			body: `{"logGroupName":"bench-group","logStreamName":"first"}`},
		{service: "s3", method: http.MethodPut, path: "/bench-lists"},
		{service: "s3", method: http.MethodPut, path: "/bench-lists/first", body: "x"},
	}
	for i := range benchUsers {
		steps = append(steps, list{service: "iam", query: map[string]string{
			"Action": "CreateUser", "Version": "2010-05-08", "UserName": fmt.Sprintf("user-%d", i),
		}})
	}
	for i := range 400 {
		steps = append(steps, list{service: "ssm", operation: "AmazonSSM.CreateDocument", body: fmt.Sprintf(
			`{"Name":"Bench-%d","DocumentType":"Session","DocumentFormat":"JSON","Content":%q}`, i,
			`{"schemaVersion":"1.0","description":"bench","sessionType":"Standard_Stream","inputs":{}}`)})
	}
	for _, s := range steps {
		if _, err := c.call(&s, ""); err != nil {
			return fmt.Errorf("%s%s%s: %w", s.operation, s.path, s.query["Action"], err)
		}
	}
	return nil
}
