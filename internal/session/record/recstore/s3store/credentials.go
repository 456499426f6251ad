package s3store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// maxCredentials limits a credentials file, in bytes.
const maxCredentials = 16 << 10

// ReadCredentials reads an access key from a file, or from the environment if file is "". The file has the format of
// ~/.aws/credentials; its first access key is used. Only its owner can have permission to read it.
func ReadCredentials(file string) (aws.Credentials, error) {
	if file == "" {
		c := aws.Credentials{
			AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
			SessionToken: os.Getenv("AWS_SESSION_TOKEN"),
		}
		if !c.HasKeys() {
			return c, errors.New("the environment variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set")
		}
		return c, nil
	}
	st, err := os.Stat(file)
	if err != nil {
		return aws.Credentials{}, err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return aws.Credentials{}, fmt.Errorf("other users can read %s; run: chmod 600 %[1]s", file)
	}
	if st.Size() > maxCredentials {
		return aws.Credentials{}, fmt.Errorf("%s is larger than %d bytes", file, maxCredentials)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return aws.Credentials{}, err
	}
	var c aws.Credentials
	fields := map[string]*string{
		"aws_access_key_id": &c.AccessKeyID, "aws_secret_access_key": &c.SecretAccessKey,
		"aws_session_token": &c.SessionToken,
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") && c.HasKeys() {
			break // the next profile
		}
		key, value, _ := strings.Cut(line, "=")
		if field := fields[strings.ToLower(strings.TrimSpace(key))]; field != nil && *field == "" {
			*field = strings.TrimSpace(value)
		}
	}
	if !c.HasKeys() {
		return aws.Credentials{}, fmt.Errorf("%s has no aws_access_key_id and aws_secret_access_key", file)
	}
	return c, nil
}

// credentialsAge is how long credentials are used before the file is read again, so they can be
// replaced while the server runs.
const credentialsAge = time.Minute

// Credentials returns a provider of the credentials from [ReadCredentials].
func Credentials(file string) aws.CredentialsProvider {
	return aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		c, err := ReadCredentials(file)
		if err != nil {
			return c, fmt.Errorf("credentials of the store: %w", err)
		}
		c.CanExpire, c.Expires = true, time.Now().Add(credentialsAge)
		return c, nil
	}))
}
