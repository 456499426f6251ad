package console

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// jsonServices maps the prefix of X-Amz-Target to the service it names.
var jsonServices = map[string]string{
	"AmazonSSM":     "ssm",
	"Sekisho":       "sekisho",
	"TrentService":  "kms",
	"Logs_20140328": "logs",

	"AWSOrigamiServiceGatewayService": "cur",

	"com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101": "cloudtrail",
}

// queryServices are the valid values of X-Sekisho-Service.
var queryServices = map[string]bool{"iam": true, "sts": true, "ec2": true}

// call passes an AWS call to its door as the signed-in user.
func (c *Console) call(w http.ResponseWriter, r *http.Request) {
	who, ok := c.requireOwn(w, r)
	if !ok {
		return
	}
	service, ok := serviceOf(r)
	if !ok {
		refuseAs(
			w,
			http.StatusBadRequest,
			"UnknownOperationException",
			"The request names no service that the console can call.",
		)
		return
	}

	if !c.pastFirstRun(w, r, who, firstRunCall(r)) || !c.pastReset(w, r, who, isChange) {
		return
	}

	in := r.Clone(r.Context())
	in.URL = &url.URL{Path: "/"}
	in.RequestURI = "/"
	in.Body = http.MaxBytesReader(w, r.Body, maxCallBody)
	// The doors must see neither the cookie nor a signature that somebody has added.
	in.Header = http.Header{}
	for _, name := range []string{"Content-Type", "X-Amz-Target", "User-Agent"} {
		if v := r.Header.Get(name); v != "" {
			in.Header.Set(name, v)
		}
	}
	c.cfg.Doors.ServeAs(w, in, who.principal, service)
}

// bucketCall passes an S3 call to its door as the signed-in user. The request line is in a header,
// because a path of the console would not preserve every key, and browsers send Origin reliably
// only with POST.
func (c *Console) bucketCall(w http.ResponseWriter, r *http.Request) {
	who, ok := c.requireOwn(w, r)
	if !ok {
		return
	}
	method, target, _ := strings.Cut(r.Header.Get(BucketHeader), " ")
	u, err := url.ParseRequestURI(target)
	if c.cfg.Buckets == nil || err != nil || !bucketMethods[method] || !strings.HasPrefix(target, "/") {
		refuseAs(
			w,
			http.StatusBadRequest,
			"UnknownOperationException",
			"The request names no S3 operation that the console can call.",
		)
		return
	}
	if !c.pastFirstRun(w, r, who, false) || !c.pastReset(w, r, who, nil) {
		return
	}
	in := r.Clone(r.Context())
	in.Method, in.URL, in.RequestURI = method, u, target
	in.Body = http.MaxBytesReader(w, r.Body, maxCallBody)
	in.Header = http.Header{}
	for _, name := range []string{"Content-Type", "Range", "User-Agent"} {
		if v := r.Header.Get(name); v != "" {
			in.Header.Set(name, v)
		}
	}
	c.cfg.Buckets.ServeAs(w, in, who.principal)
}

// bucketMethods are the methods that the console needs.
var bucketMethods = map[string]bool{http.MethodGet: true, http.MethodHead: true, http.MethodPut: true}

// pastFirstRun refuses calls of a user who has not completed first-run setup, except the calls that
// are part of it.
func (c *Console) pastFirstRun(w http.ResponseWriter, r *http.Request, who *caller, part bool) bool {
	first, err := c.cfg.Directory.FirstRun(r.Context(), who.principal.UserID)
	if err != nil {
		c.fail(w, r, "read the state of the account", err)
		return false
	}
	if first && !part {
		refuseAs(w, http.StatusForbidden, "AccessDeniedException", "First choose a second factor, or decline to use one.")
		return false
	}
	return true
}

// pastReset refuses calls of a user who must change their password, except the call that changes
// it, which change reports.
func (c *Console) pastReset(
	w http.ResponseWriter,
	r *http.Request,
	who *caller,
	change func(http.ResponseWriter, *http.Request) bool,
) bool {
	reset, err := c.cfg.Directory.PasswordReset(r.Context(), who.principal)
	if err != nil {
		c.fail(w, r, "check whether the password must be changed", err)
		return false
	}
	if reset && (change == nil || !change(w, r)) {
		refuseAs(w, http.StatusForbidden, "AccessDeniedException", "Change your password first.")
		return false
	}
	return true
}

// isChange reports whether a call is ChangePassword of IAM. It reads the body, and puts it back.
func isChange(w http.ResponseWriter, r *http.Request) bool {
	if r.Header.Get("X-Amz-Target") != "" || r.Header.Get(ServiceHeader) != "iam" {
		return false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCallBody))
	if err != nil {
		return false // the door reports the same problem with the body
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, err := url.ParseQuery(string(body))
	return err == nil && len(form["Action"]) == 1 && form.Get("Action") == "ChangePassword"
}

// serviceOf returns the service of a call.
func serviceOf(r *http.Request) (string, bool) {
	mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return "", false
	}
	switch mt {
	case "application/x-amz-json-1.1":
		target := r.Header.Get("X-Amz-Target")
		service, known := jsonServices[target[:max(0, strings.LastIndexByte(target, '.'))]]
		return service, known
	case "application/x-www-form-urlencoded":
		service := r.Header.Get(ServiceHeader)
		return service, queryServices[service]
	}
	return "", false
}

// firstRunTargets are the calls of the first-run flow.
var firstRunTargets = map[string]bool{
	"Sekisho.BeginPasskeyRegistration": true, "Sekisho.RegisterPasskey": true, "Sekisho.FinishFirstRun": true,
}

// firstRunCall reports whether a call is one of the first-run flow: enrolling
// a second factor or declining it. The IAM calls are those on MFA devices; every
// signed-in user can call them, so that admitting IAM discloses nothing.
func firstRunCall(r *http.Request) bool {
	return firstRunTargets[r.Header.Get("X-Amz-Target")] ||
		r.Header.Get("X-Amz-Target") == "" && r.Header.Get(ServiceHeader) == "iam"
}
