package uplink

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"

	"sekisho"
)

// Identity is the agent's principal on the server.
type Identity struct {
	Account string
	ARN     string
}

// CallerIdentity calls sts:GetCallerIdentity.
func (c *Client) CallerIdentity(ctx context.Context) (Identity, error) {
	var out struct {
		Account string `xml:"GetCallerIdentityResult>Account"`
		ARN     string `xml:"GetCallerIdentityResult>Arn"`
	}
	err := c.query(ctx, "sts", "GetCallerIdentity", url.Values{"Version": {"2011-06-15"}}, &out)
	return Identity{out.Account, out.ARN}, err
}

// Tags calls ec2:DescribeTags for a node.
func (c *Client) Tags(ctx context.Context, node sekisho.NodeID) (map[string]string, error) {
	var out struct {
		Tags []struct {
			Key   string `xml:"key"`
			Value string `xml:"value"`
		} `xml:"tagSet>item"`
	}
	err := c.query(ctx, "ec2", "DescribeTags", url.Values{
		"Version": {"2016-11-15"}, "Filter.1.Name": {"resource-id"}, "Filter.1.Value.1": {string(node)},
	}, &out)
	if err != nil {
		return nil, err
	}
	tags := make(map[string]string, len(out.Tags))
	for _, t := range out.Tags {
		tags[t.Key] = t.Value
	}
	return tags, nil
}

// query calls an operation of a service with AWS's query protocol.
func (c *Client) query(ctx context.Context, service, op string, form url.Values, out any) error {
	form.Set("Action", op)
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
	answer, err := c.post(ctx, op, "/", h, []byte(form.Encode()), http.StatusOK, c.signed(service))
	if err != nil {
		return err
	}
	if err := xml.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s: the server's response is not the expected XML: %w", op, err)
	}
	return nil
}
