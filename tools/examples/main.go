// Command examples starts and ends a session as docs/ecosystem/aws-sdk-go.md does. It keeps the
// modules which the programs of that folder import in go.mod; the end-to-end tests build those
// programs here.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err == nil {
		_, err = ssm.NewFromConfig(cfg).DescribeSessions(context.Background(), &ssm.DescribeSessionsInput{State: "Active"})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
