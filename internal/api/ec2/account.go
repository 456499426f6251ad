package ec2

import (
	"context"
	"slices"

	"sekisho/internal/api"
	"sekisho/internal/wire/awsproto"
)

type accountAttributesRequest struct {
	tried
	AttributeName []string
}

type accountAttributeValue struct {
	AttributeValue string `xml:"attributeValue"`
}

type accountAttribute struct {
	AttributeName     string                     `xml:"attributeName"`
	AttributeValueSet set[accountAttributeValue] `xml:"attributeValueSet"`
}

type accountAttributesAnswer struct {
	AccountAttributeSet set[accountAttribute] `xml:"accountAttributeSet"`
}

// accountAttributes returns the attributes of an account with VPCs and without EC2-Classic, which
// clients query first. Sekisho starts no instances and allocates no addresses.
func accountAttributes() []accountAttribute {
	one := func(name, value string) accountAttribute {
		return accountAttribute{name, set[accountAttributeValue]{[]accountAttributeValue{{value}}}}
	}
	return []accountAttribute{
		one("supported-platforms", "VPC"),
		one("vpc-max-security-groups-per-interface", "5"),
		one("max-elastic-ips", "0"),
		one("max-instances", "0"),
		one("vpc-max-elastic-ips", "0"),
		one("default-vpc", "none"),
	}
}

func (d *door) describeAccountAttributes(
	ctx context.Context, c *api.Call, in *accountAttributesRequest,
) (*accountAttributesAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	all := accountAttributes()
	for _, name := range in.AttributeName {
		if !slices.ContainsFunc(all, func(a accountAttribute) bool { return a.AttributeName == name }) {
			return nil, awsproto.SenderError("InvalidParameterValue",
				"Value (%.64s) for parameter attributeName is invalid. Unknown attribute.", name)
		}
	}
	out := &accountAttributesAnswer{}
	for _, a := range all {
		if len(in.AttributeName) == 0 || slices.Contains(in.AttributeName, a.AttributeName) {
			out.AccountAttributeSet.Item = append(out.AccountAttributeSet.Item, a)
		}
	}
	return out, in.done()
}
