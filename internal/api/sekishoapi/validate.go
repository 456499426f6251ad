package sekishoapi

import (
	"context"
	"errors"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/policy"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/storage/objects"
	"sekisho/internal/wire/awsproto"
)

// policyKinds are the values of PolicyType, with the names of AWS's Access Analyzer and, for trust
// policies, a name of our own.
var policyKinds = map[string]policy.Kind{
	"":                policy.KindIdentity,
	"IDENTITY_POLICY": policy.KindIdentity,
	"RESOURCE_POLICY": policy.KindResource,
	"TRUST_POLICY":    policy.KindTrust,
}

// Values of FindingType, as in AWS's Access Analyzer.
const (
	findingError   = "ERROR"
	findingWarning = "SECURITY_WARNING"
)

// Issue codes of warnings. An error's code is the error code of IAM.
const (
	issueLogsOverwritable = "LOGS_CAN_BE_OVERWRITTEN"
	issueLogsDestroyable  = "LOGS_CAN_BE_DESTROYED"
)

// maxPolicyDocument bounds the document of a ValidatePolicy request, in bytes.
const maxPolicyDocument = 2 * 131072

func (d *door) validateOperations() map[string]api.Operation {
	return map[string]api.Operation{
		"ValidatePolicy": api.Read(d.validatePolicy,
			api.NoPolicy("it checks the document in the request alone"),
			api.Polled("the console's policy editor asks while its user types")),
	}
}

type validatePolicyRequest struct {
	PolicyDocument string
	PolicyType     string // one of policyKinds
}

// policyFinding is a problem of a document, in the shape of AWS's Access Analyzer.
type policyFinding struct {
	FindingType    string
	IssueCode      string
	FindingDetails string
	// Action and Resource are the grant that a warning is about.
	Action   string `json:",omitempty"`
	Resource string `json:",omitempty"`
}

type validatePolicyAnswer struct{ Findings []policyFinding }

// validatePolicy returns the error with which IAM would refuse a document, or else warnings.
func (d *door) validatePolicy(
	ctx context.Context,
	c *api.Call,
	in *validatePolicyRequest,
) (*validatePolicyAnswer, error) {
	var v awsproto.Constraints
	v.Length("policyDocument", in.PolicyDocument, 1, maxPolicyDocument)
	if err := v.Err(); err != nil {
		return nil, err
	}
	kind, ok := policyKinds[in.PolicyType]
	if !ok {
		return nil, root.Errorf(root.CodeInvalid,
			"PolicyType %.40q is unknown: use IDENTITY_POLICY, RESOURCE_POLICY or TRUST_POLICY.", in.PolicyType)
	}
	out := &validatePolicyAnswer{Findings: []policyFinding{}}
	if err := policy.Validate([]byte(in.PolicyDocument), kind); err != nil {
		invalid, is := errors.AsType[*policy.ValidationError](err)
		if !is {
			return nil, err
		}
		out.Findings = append(out.Findings, policyFinding{
			FindingType: findingError, IssueCode: invalid.Code, FindingDetails: invalid.Error(),
		})
		return out, nil
	}
	if kind != policy.KindIdentity {
		return out, nil
	}
	var err error
	out.Findings, err = d.logWarnings(ctx, c, in.PolicyDocument)
	return out, err
}

// logWarnings warns of a document with which a node could overwrite or destroy session logs. The
// places of logs are in the preferences, so that callers who cannot read these get no warnings.
func (d *door) logWarnings(ctx context.Context, c *api.Call, document string) ([]policyFinding, error) {
	found := []policyFinding{}
	arn, keys, err := d.Requests.Document(ctx, ssmdoc.Default)
	if root.IsNotFound(err) {
		return found, nil
	}
	if err != nil {
		return nil, err
	}
	readable, err := d.asks(c.Facts())(ctx, "ssm:GetDocument", arn, keys...)
	if err != nil || !readable.Allowed {
		return found, err
	}
	settings, err := d.Requests.Settings(ctx, "")
	if root.IsNotFound(err) || root.CodeOf(err) == root.CodeInvalid {
		return found, nil
	}
	if err != nil {
		return nil, err
	}
	doc, err := policy.Parse([]byte(document))
	if err != nil {
		return nil, err
	}
	alone := policy.Compile(policy.Policies{Identity: []*policy.Document{doc}})
	facts := policy.NewContext()
	facts.SetUnknown(doc.ContextKeys()...)
	best := facts.AtBest()
	check := func(resource, issue string, risks []logRisk) {
		for _, r := range risks {
			ask := &policy.Request{Action: r.action, Resource: resource, Context: best}
			if !alone.Evaluate(ask).Allowed() {
				continue
			}
			found = append(found, policyFinding{
				FindingType: findingWarning, IssueCode: issue, Action: r.action, Resource: resource,
				FindingDetails: "A node whose role has this policy can " + r.effect + ": " + r.action + " is allowed on " +
					resource + ".",
			})
		}
	}
	if bucket := settings.S3BucketName; bucket != "" {
		log := objects.ObjectARN(bucket, ssmdoc.LogKey(settings.S3KeyPrefix, "session"))
		check(log, issueLogsOverwritable, []logRisk{{"s3:PutObject", "overwrite session logs"}})
		check(log, issueLogsDestroyable, objectRisks)
		check(objects.ARN(bucket), issueLogsDestroyable, bucketRisks)
	}
	if name := settings.CloudWatchLogGroupName; name != "" {
		group := "arn:aws:logs:" + d.Region + ":" + d.Account + ":log-group:" + name
		check(group+":log-stream:session", issueLogsDestroyable, groupRisks)
	}
	return found, nil
}
