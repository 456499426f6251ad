package audit

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"sekisho"
)

// Event is one API call, or the start or end of a session.
type Event struct {
	ID          string    `json:"id"` // UUID; Record sets it if empty
	Time        time.Time `json:"time"`
	EventSource string    `json:"source"` // "ssm.amazonaws.com"
	EventName   string    `json:"name"`   // "StartSession"
	Region      string    `json:"region"`
	SourceIP    string    `json:"sourceIP"`
	UserAgent   string    `json:"userAgent,omitempty"`
	RequestID   string    `json:"requestID,omitempty"`

	UserIdentity Identity `json:"identity"`

	// RequestParameters and ResponseElements are values that marshal to JSON; Record redacts them.
	// In a read event, they are a json.RawMessage.
	RequestParameters any `json:"request,omitempty"`
	ResponseElements  any `json:"response,omitempty"`
	// Additional is CloudTrail's additionalEventData, such as "MFAUsed" of a sign-in. It is
	// redacted too.
	Additional map[string]any `json:"additional,omitempty"`

	Resources    []Resource `json:"resources,omitempty"`
	ErrorCode    string     `json:"errorCode,omitempty"`
	ErrorMessage string     `json:"errorMessage,omitempty"`
	ReadOnly     bool       `json:"readOnly"`

	// Reason is the full reason of the decision, for callers with the permission to simulate
	// policies. It is not part of the CloudTrail record.
	Reason    string            `json:"reason,omitempty"`
	SessionID sekisho.SessionID `json:"session,omitempty"`
}

// Resource is a resource of an event.
type Resource struct {
	ARN  string `json:"arn"`
	Type string `json:"type,omitempty"` // "AWS::SSM::ManagedInstance"; Record derives it if empty
}

// Name returns the last part of the ARN, such as a node's ID or a user's name.
func (r Resource) Name() string {
	parts := strings.SplitN(r.ARN, ":", 6)
	if len(parts) < 6 {
		return r.ARN
	}
	if parts[2] == "s3" {
		return parts[5]
	}
	return parts[5][strings.LastIndexAny(parts[5], ":/")+1:]
}

// Identity is the caller, in the form of CloudTrail.
type Identity struct {
	// Root, IAMUser, AssumedRole, FederatedUser, AWSAccount (nobody) or Unknown (a node's own key)
	Type        string    `json:"type"`
	PrincipalID string    `json:"principalId,omitempty"`
	ARN         string    `json:"arn,omitempty"`
	AccountID   string    `json:"accountId,omitempty"`
	AccessKeyID string    `json:"accessKeyId,omitempty"`
	UserName    string    `json:"userName,omitempty"`
	RoleARN     string    `json:"roleArn,omitempty"`
	RoleName    string    `json:"roleName,omitempty"`
	SessionName string    `json:"sessionName,omitempty"`
	Provider    string    `json:"identityProvider,omitempty"` // of a web identity
	IssuedAt    time.Time `json:"issuedAt,omitzero"`
	MFA         bool      `json:"mfa,omitempty"`
}

// Values of UserIdentity.Type, as in CloudTrail.
const (
	IdentityRoot          = "Root"
	IdentityUser          = "IAMUser"
	IdentityAssumedRole   = "AssumedRole"
	IdentityFederatedUser = "FederatedUser"
	IdentityNobody        = "AWSAccount"
	IdentityNode          = "Unknown"
	IdentityWeb           = "WebIdentityUser"
)

// IdentityOf returns the trail's form of p; a nil p means nobody.
func IdentityOf(p *sekisho.Principal) Identity {
	if p == nil {
		return Identity{Type: IdentityNobody, AccountID: "ANONYMOUS_PRINCIPAL"}
	}
	id := Identity{
		PrincipalID: p.UserID, ARN: p.ARN, AccountID: p.Account, AccessKeyID: p.AccessKeyID, UserName: p.UserName,
		IssuedAt: p.TokenIssueTime, MFA: !p.MFATime.IsZero(),
	}
	switch p.Type {
	case sekisho.PrincipalRoot:
		id.Type = IdentityRoot
	case sekisho.PrincipalUser:
		id.Type = IdentityUser
	case sekisho.PrincipalAssumedRole:
		id.Type, id.RoleARN, id.RoleName, id.SessionName = IdentityAssumedRole, p.PolicyARN, p.RoleName, p.RoleSessionName
	case sekisho.PrincipalFederatedUser:
		id.Type, id.SessionName = IdentityFederatedUser, p.RoleSessionName
	case sekisho.PrincipalWebIdentity:
		return Identity{
			Type:        IdentityWeb,
			PrincipalID: p.UserID,
			AccountID:   p.Account,
			UserName:    p.UserName,
			Provider:    p.ARN,
		}
	case sekisho.PrincipalAnonymous:
		if p.Node == "" {
			return Identity{Type: IdentityNobody, AccountID: "ANONYMOUS_PRINCIPAL"}
		}
		id.Type, id.PrincipalID = IdentityNode, string(p.Node)
	}
	return id
}

// Name returns the caller's name, which LookupEvents calls Username.
func (id Identity) Name() string {
	switch id.Type {
	case IdentityRoot:
		return "root"
	case IdentityUser, IdentityWeb:
		return id.UserName
	case IdentityAssumedRole, IdentityFederatedUser:
		return id.SessionName
	}
	return id.PrincipalID
}

type cloudTrailIdentity struct {
	Type           string          `json:"type"`
	PrincipalID    string          `json:"principalId,omitempty"`
	ARN            string          `json:"arn,omitempty"`
	AccountID      string          `json:"accountId,omitempty"`
	AccessKeyID    string          `json:"accessKeyId,omitempty"`
	UserName       string          `json:"userName,omitempty"`
	Provider       string          `json:"identityProvider,omitempty"`
	SessionContext *sessionContext `json:"sessionContext,omitempty"`
}

type sessionContext struct {
	Issuer     *cloudTrailIdentity `json:"sessionIssuer,omitempty"`
	Attributes sessionAttributes   `json:"attributes"`
}

type sessionAttributes struct {
	CreationDate     string `json:"creationDate"`
	MFAAuthenticated string `json:"mfaAuthenticated"`
}

func (id Identity) cloudTrail() cloudTrailIdentity {
	out := cloudTrailIdentity{
		Type: id.Type, PrincipalID: id.PrincipalID, ARN: id.ARN, AccountID: id.AccountID,
		AccessKeyID: id.AccessKeyID, UserName: id.UserName, Provider: id.Provider,
	}
	if !id.IssuedAt.IsZero() {
		out.SessionContext = &sessionContext{Attributes: sessionAttributes{
			CreationDate: id.IssuedAt.UTC().Format(timeFormat), MFAAuthenticated: fmt.Sprint(id.MFA),
		}}
	}
	if id.Type == IdentityAssumedRole {
		if out.SessionContext == nil {
			out.SessionContext = &sessionContext{}
		}
		roleID, _, _ := strings.Cut(id.PrincipalID, ":")
		out.SessionContext.Issuer = &cloudTrailIdentity{
			Type: "Role", PrincipalID: roleID, ARN: id.RoleARN, AccountID: id.AccountID, UserName: id.RoleName,
		}
	}
	return out
}

const timeFormat = "2006-01-02T15:04:05Z"

type cloudTrailResource struct {
	ARN       string `json:"ARN"`
	AccountID string `json:"accountId,omitempty"`
	Type      string `json:"type,omitempty"`
}

type cloudTrailRecord struct {
	EventVersion       string               `json:"eventVersion"`
	UserIdentity       cloudTrailIdentity   `json:"userIdentity"`
	EventTime          string               `json:"eventTime"`
	EventSource        string               `json:"eventSource"`
	EventName          string               `json:"eventName"`
	AWSRegion          string               `json:"awsRegion"`
	SourceIPAddress    string               `json:"sourceIPAddress"`
	UserAgent          string               `json:"userAgent"`
	ErrorCode          string               `json:"errorCode,omitempty"`
	ErrorMessage       string               `json:"errorMessage,omitempty"`
	RequestParameters  any                  `json:"requestParameters"`
	ResponseElements   any                  `json:"responseElements"`
	Additional         map[string]any       `json:"additionalEventData,omitempty"`
	RequestID          string               `json:"requestID,omitempty"`
	EventID            string               `json:"eventID"`
	ReadOnly           bool                 `json:"readOnly"`
	Resources          []cloudTrailResource `json:"resources,omitempty"`
	EventType          string               `json:"eventType"`
	ManagementEvent    bool                 `json:"managementEvent"`
	RecipientAccountID string               `json:"recipientAccountId"`
	EventCategory      string               `json:"eventCategory"`
}

// CloudTrail returns e as a CloudTrail record, without the reason of the
// decision.
func (e *Event) CloudTrail(account string) ([]byte, error) { return e.cloudTrail(account, false) }

// CloudTrailWithReason is CloudTrail with the reason of the decision in additionalEventData, for
// authorized callers.
func (e *Event) CloudTrailWithReason(account string) ([]byte, error) {
	return e.cloudTrail(account, true)
}

func (e *Event) cloudTrail(account string, reason bool) ([]byte, error) {
	request, err := redacted(e.RequestParameters)
	if err != nil {
		return nil, fmt.Errorf("audit: request parameters of %s: %w", e.ID, err)
	}
	response, err := redacted(e.ResponseElements)
	if err != nil {
		return nil, fmt.Errorf("audit: response elements of %s: %w", e.ID, err)
	}
	additional := map[string]any{}
	for k, v := range e.Additional {
		additional[k] = Redact(v)
	}
	if e.SessionID != "" {
		additional["sessionId"] = e.SessionID
	}
	if reason && e.Reason != "" {
		additional["decisionReason"] = e.Reason
	}
	rec := cloudTrailRecord{
		EventVersion: "1.08", UserIdentity: e.UserIdentity.cloudTrail(), EventTime: e.Time.UTC().Format(timeFormat),
		EventSource: e.EventSource, EventName: e.EventName, AWSRegion: e.Region, SourceIPAddress: e.SourceIP,
		UserAgent: e.UserAgent,
		ErrorCode: e.ErrorCode, ErrorMessage: e.ErrorMessage, RequestParameters: request, ResponseElements: response,
		Additional: additional, RequestID: e.RequestID, EventID: e.ID, ReadOnly: e.ReadOnly, EventType: "AwsApiCall",
		ManagementEvent: true, RecipientAccountID: account, EventCategory: "Management",
	}
	if e.EventSource == "signin.amazonaws.com" {
		rec.EventType = "AwsConsoleSignIn"
	}
	for _, r := range e.Resources {
		rec.Resources = append(
			rec.Resources,
			cloudTrailResource{ARN: r.ARN, AccountID: accountOf(r.ARN, account), Type: r.Type},
		)
	}
	return json.Marshal(rec)
}

func accountOf(arn, own string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 && parts[4] != "" {
		return parts[4]
	}
	return own
}

// typeOf returns the CloudFormation type of an ARN's resource; "" if it is unknown.
func typeOf(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 {
		return ""
	}
	kind, _, _ := strings.Cut(strings.ReplaceAll(parts[5], ":", "/"), "/")
	switch parts[2] + " " + kind {
	case "ssm managed-instance":
		return "AWS::SSM::ManagedInstance"
	case "ssm session":
		return "AWS::SSM::Session"
	case "ssm document":
		return "AWS::SSM::Document"
	case "ec2 instance":
		return "AWS::EC2::Instance"
	case "iam user":
		return "AWS::IAM::User"
	case "iam group":
		return "AWS::IAM::Group"
	case "iam role", "sts assumed-role":
		return "AWS::IAM::Role"
	case "iam policy":
		return "AWS::IAM::Policy"
	case "iam instance-profile":
		return "AWS::IAM::InstanceProfile"
	case "kms key":
		return "AWS::KMS::Key"
	case "kms alias":
		return "AWS::KMS::Alias"
	case "logs log-group":
		return "AWS::Logs::LogGroup"
	}
	if parts[2] == "s3" {
		if strings.Contains(parts[5], "/") {
			return "AWS::S3::Object"
		}
		return "AWS::S3::Bucket"
	}
	return ""
}
