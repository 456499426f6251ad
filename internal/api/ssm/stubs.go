package ssm

import (
	"context"
	"regexp"

	"sekisho/internal/api"
	"sekisho/internal/wire/awsproto"
)

func (d stubDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"ListInstanceAssociations":        api.Read(d.listInstanceAssociations),
		"ListAssociations":                api.Read(d.listAssociations),
		"DescribeAssociation":             api.Read(d.describeAssociation),
		"UpdateInstanceAssociationStatus": api.Write(d.updateInstanceAssociationStatus),
		"PutComplianceItems":              api.Write(d.putComplianceItems),
		"GetManifest":                     api.Read(d.getManifest),
		"GetParameters":                   api.Read(d.getParameters),
	}
}

// Operations of State Manager, Distributor, Parameter Store and compliance that AWS's agent calls.
// Sekisho has none of these: the answers are those of an empty account, so that the agent neither
// hibernates nor keeps retrying.

type instanceAssociationsRequest struct {
	InstanceID string `json:"InstanceId"`
}

type associationsAnswer struct{ Associations []struct{} }

func (d stubDoor) listInstanceAssociations(
	ctx context.Context,
	c *api.Call,
	in *instanceAssociationsRequest,
) (*associationsAnswer, error) {
	if err := d.nodes.asNode(ctx, c, in.InstanceID); err != nil {
		return nil, err
	}
	return &associationsAnswer{[]struct{}{}}, nil
}

func (d stubDoor) listAssociations(ctx context.Context, c *api.Call, _ *struct{}) (*associationsAnswer, error) {
	if err := c.Authorize(ctx, "ssm:ListAssociations", "*"); err != nil {
		return nil, err
	}
	return &associationsAnswer{[]struct{}{}}, nil
}

var errNoAssociation = awsproto.SenderError("AssociationDoesNotExist", "Sekisho has no associations.")

func (d stubDoor) describeAssociation(ctx context.Context, c *api.Call, _ *struct{}) (*struct{}, error) {
	// A missing resource has no ARN, so the caller needs a grant on all of them.
	if err := c.Authorize(ctx, "ssm:DescribeAssociation", "*"); err != nil {
		return nil, err
	}
	return nil, errNoAssociation
}

func (d stubDoor) updateInstanceAssociationStatus(
	ctx context.Context,
	c *api.Call,
	in *instanceAssociationsRequest,
) (*struct{}, error) {
	if err := d.nodes.asNode(ctx, c, in.InstanceID); err != nil {
		return nil, err
	}
	return nil, errNoAssociation
}

type putComplianceRequest struct {
	ResourceID     string `json:"ResourceId"`
	ResourceType   string
	ComplianceType string
	Items          []struct{}
}

// maxComplianceItems is AWS's bound of one request.
const maxComplianceItems = 10000

// putComplianceItems accepts and discards a node's compliance report: an agent would repeat a
// refused one.
func (d stubDoor) putComplianceItems(ctx context.Context, c *api.Call, in *putComplianceRequest) (*struct{}, error) {
	if err := d.nodes.asNode(ctx, c, in.ResourceID); err != nil {
		return nil, err
	}
	var v awsproto.Constraints
	v.Enum("resourceType", in.ResourceType, "ManagedInstance")
	v.Length("complianceType", in.ComplianceType, 1, 100)
	v.Count("items", len(in.Items), 0, maxComplianceItems)
	return &struct{}{}, v.Err()
}

type manifestRequest struct {
	PackageName    string
	PackageVersion string
}

func (d stubDoor) getManifest(ctx context.Context, c *api.Call, in *manifestRequest) (*struct{}, error) {
	if err := c.Authorize(ctx, "ssm:GetManifest", "*"); err != nil {
		return nil, err
	}
	var v awsproto.Constraints
	v.Length("packageName", in.PackageName, 1, 512)
	if err := v.Err(); err != nil {
		return nil, err
	}
	return nil, awsproto.SenderError("ResourceNotFoundException", "Sekisho has no packages.")
}

type parametersRequest struct{ Names []string }

type parametersAnswer struct {
	Parameters        []struct{}
	InvalidParameters []string
}

var parameterName = regexp.MustCompile(`^[a-zA-Z0-9_./-]+$`)

// getParameters lists every parameter as invalid.
func (d stubDoor) getParameters(ctx context.Context, c *api.Call, in *parametersRequest) (*parametersAnswer, error) {
	var v awsproto.Constraints
	v.Count("names", len(in.Names), 1, 10)
	for _, name := range in.Names {
		v.Length("names", name, 1, 2048)
		v.Pattern("names", name, parameterName)
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	for _, name := range in.Names {
		if err := c.Authorize(ctx, "ssm:GetParameters", d.parameterARN(name)); err != nil {
			return nil, err
		}
	}
	return &parametersAnswer{[]struct{}{}, in.Names}, nil
}

// parameterARN returns the ARN of a parameter. It does not double the leading slash of hierarchical
// names.
func (d stubDoor) parameterARN(name string) string {
	if name[0] != '/' {
		name = "/" + name
	}
	return "arn:aws:ssm:" + d.Region + ":" + d.Account + ":parameter" + name
}

type publicKeyRequest struct {
	NewPublicKey     string
	NewPublicKeyType string
}
