// Versitygw runs the integration tests of versitygw against the S3 endpoint in
// AWS_ENDPOINT_URL, with the credentials in the environment. It prints one line
// for each test.
package main

import (
	"context"
	"os"

	"github.com/versity/versitygw/tests/integration"
)

func main() {
	state := integration.NewTestState(context.Background(), integration.NewS3Conf(
		integration.WithAccess(os.Getenv("AWS_ACCESS_KEY_ID")),
		integration.WithSecret(os.Getenv("AWS_SECRET_ACCESS_KEY")),
		integration.WithRegion(os.Getenv("AWS_REGION")),
		integration.WithEndpoint(os.Getenv("AWS_ENDPOINT_URL")),
		integration.WithVersioningEnabled(),
	), false)
	if tests := os.Args[1:]; len(tests) > 0 {
		all := integration.GetIntTests()
		for _, name := range tests {
			state.Run(all[name])
		}
	} else {
		integration.TestFullFlow(state)
	}
	state.Wait()
}
