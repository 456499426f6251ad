package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"strings"
	"syscall"

	"sekisho"
)

// connectError explains an error of an HTTP request to endpoint in one sentence,
// with a remedy. Its code is unreachable, unless the request was cancelled.
func connectError(endpoint string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	host := endpoint
	if u, parseErr := url.Parse(endpoint); parseErr == nil && u.Host != "" {
		host = u.Host
	}
	host = Printable(host)
	fail := func(format string, args ...any) *sekisho.Error {
		e := sekisho.Errorf(sekisho.CodeUnreachable, format, args...)
		e.Err = err
		return e
	}
	var (
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		timeout   net.Error
	)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return fail(
			"Cannot find the server name %s.",
			Printable(dns.Name),
		).WithHint("Check the name in AWS_ENDPOINT_URL or the profile's endpoint_url.")
	case errors.As(err, &dns):
		return fail(
			"Cannot look up the server name %s: %s.",
			Printable(dns.Name),
			Printable(dns.Err),
		).WithHint("Check your network and DNS settings.")
	case errors.As(err, &authority):
		return fail("The certificate of %s is signed by an authority that this system does not trust.", host).
			WithHint("If the server has its own authority, name its certificate file in AWS_CA_BUNDLE.")
	case errors.As(err, &name):
		return fail(
			"The certificate of %s is for other names: %s.",
			host,
			Printable(strings.Join(name.Certificate.DNSNames, ", ")),
		).
			WithHint("Use one of these names in AWS_ENDPOINT_URL.")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fail(
			"The certificate of %s is expired or not yet valid.",
			host,
		).WithHint("Check this system's clock, or have the certificate renewed.")
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fail("%s does not use TLS.", host).WithHint("Check the scheme and port in AWS_ENDPOINT_URL.")
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail(
			"%s refused the connection.",
			host,
		).WithHint("Check that the server is running, and the port in AWS_ENDPOINT_URL.")
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return fail("There is no route to %s.", host).WithHint("Check your network or VPN.")
	case errors.As(err, &timeout) && timeout.Timeout():
		return fail("%s did not respond in time.", host).WithHint("Check your network, proxy settings and firewalls.")
	}
	if op, ok := errors.AsType[*url.Error](err); ok { // it repeats the whole URL
		return fail("Cannot connect to %s: %s.", host, Printable(op.Err.Error()))
	}
	return fail("Cannot connect to %s: %s.", host, Printable(err.Error()))
}

// AccessDenied reports whether the server refused the caller: a policy denies,
// or the credentials are missing, wrong or expired.
func (e *APIError) AccessDenied() bool {
	switch e.Code {
	case "AccessDenied", "AccessDeniedException", "UnauthorizedAccess",
		"UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "MissingAuthenticationToken",
		"MissingAuthenticationTokenException",
		"IncompleteSignature", "IncompleteSignatureException", "SignatureDoesNotMatch", "InvalidSignatureException",
		"RequestTimeTooSkewed",
		"ExpiredToken", "ExpiredTokenException", "RequestExpired":
		return true
	}
	return e.StatusCode == 401 || e.StatusCode == 403
}

// NotFound reports whether the resource does not exist.
func (e *APIError) NotFound() bool {
	switch e.Code {
	case "DoesNotExistException", "InvalidInstanceId", "InvalidDocument", "NoSuchEntity", "ResourceNotFoundException":
		return true
	}
	return e.StatusCode == 404
}

// remedy returns what the user can do about e, if the client knows.
func (e *APIError) remedy() string {
	switch e.Code {
	case "ExpiredToken", "ExpiredTokenException":
		return "Sign in again: sekisho login."
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId":
		return "Check the access key, and that AWS_ENDPOINT_URL names the server that issued it."
	case "SignatureDoesNotMatch", "InvalidSignatureException":
		if strings.Contains(e.Message, "expired") || strings.Contains(e.Message, "not yet current") {
			return "Check this system's clock."
		}
		return "Check the secret access key."
	case "RequestTimeTooSkewed", "RequestExpired":
		return "Check this system's clock."
	}
	return ""
}
