package s3_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"sekisho/internal/api/s3"
)

// TestEveryOperationAsksPolicy calls every operation without permission, on
// buckets that exist and that do not. Each call is refused and recorded, and
// no response reveals what exists.
func TestEveryOperationAsksPolicy(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.do(r.admin, http.MethodPut, "/bucket/key", "content", nil)
	nobody := r.user("nobody", `[{"Effect":"Allow","Action":"logs:*","Resource":"*"}]`)
	bodies := map[string]string{
		"DeleteObjects": "<Delete><Object><Key>key</Key></Object></Delete>",
	}
	for route, name := range s3.Routes() {
		parts := strings.Split(route, " ")
		for _, bucket := range []string{"bucket", "nobucket"} {
			path, header := "/", map[string]string{}
			switch parts[0] {
			case "bucket":
				path += bucket
			case "object":
				path += bucket + "/key"
			}
			if name == "GetObjectAttributes" {
				header["X-Amz-Object-Attributes"] = "ETag"
			}
			var query []string
			for _, sub := range parts[2:] {
				switch sub {
				case "copy":
					header["X-Amz-Copy-Source"] = "/bucket/key"
				case "list-type":
					query = append(query, "list-type=2")
				case "uploadId":
					query = append(query, "uploadId=u&partNumber=1")
				default:
					query = append(query, sub)
				}
			}
			if query != nil {
				path += "?" + strings.Join(query, "&")
			}
			got := r.do(nobody, parts[1], path, bodies[name], header)
			refused := got.status == http.StatusForbidden
			if name == "DeleteObjects" && bucket == "bucket" { // refuses key by key
				refused = got.status == http.StatusOK && strings.Contains(got.body, "<Code>AccessDenied</Code>") &&
					!strings.Contains(got.body, "<Deleted>")
			}
			if name == "DeleteObjects" && bucket != "bucket" {
				refused = strings.Contains(got.body, "AccessDenied")
			}
			if !refused {
				t.Errorf("%s (%s) on %s: %d %s", name, route, bucket, got.status, got.body)
			}
			e := r.trail.Last()
			if e.EventName != name || e.UserIdentity.UserName != "nobody" {
				t.Errorf("%s: the trail has %s of %s", name, e.EventName, e.UserIdentity.UserName)
			}
			if e.ReadOnly != (parts[1] == http.MethodGet || parts[1] == http.MethodHead) {
				t.Errorf("%s: read only %v", name, e.ReadOnly)
			}
			if len(e.Resources) == 0 {
				t.Errorf("%s: no resource in the trail", name)
			}
		}
	}
	if got := r.do(r.admin, http.MethodGet, "/bucket/key", "", nil); got.body != "content" {
		t.Errorf("afterwards: %s", fmt.Sprint(got))
	}
}
