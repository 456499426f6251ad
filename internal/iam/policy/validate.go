package policy

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// ValidationError is AWS's refusal of a document: its error code and text, and a more precise
// detail.
type ValidationError struct {
	Code    string // MalformedPolicyDocument, MalformedPolicy or ValidationError
	Message string // AWS's text
	Detail  string // the exact problem; may be empty, not part of AWS's answer
}

// Error returns the message and, if there is one, the detail.
func (e *ValidationError) Error() string {
	if e.Detail == "" {
		return e.Message
	}
	return e.Message + " (" + e.Detail + ")"
}

// Error codes of a ValidationError.
const (
	CodeMalformedDocument = "MalformedPolicyDocument"
	CodeMalformedResource = "MalformedPolicy" // resource policies
	CodeValidation        = "ValidationError" // characters and length
)

const (
	msgSyntax    = "Syntax errors in policy."
	msgVersion   = "Policy document must be version 2012-10-17 or greater."
	msgLegacy    = "The policy failed legacy parsing"
	msgSidUnique = "Statement IDs (SID) in a single policy must be unique."
	msgSidAlpha  = "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular " +
		"expression [0-9A-Za-z]*"
	msgNoActions  = "Policy statement must contain actions."
	msgNoResource = "Policy statement must contain resources."
	msgVendor     = "Resource vendor must be fully qualified and cannot contain regexes."
	msgNoPrefix   = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
	msgColons     = "Actions/Condition can contain only one colon."
	msgPrincipal  = "Policy document should not specify a principal."
	msgNeedsWho   = "Missing required field Principal"
	msgTrustVerbs = "Trust Policy statement actions can only be sts:AssumeRole, sts:AssumeRoleWithSAML,  and " +
		"sts:AssumeRoleWithWebIdentity"
	msgIAMPath = `IAM resource path must either be "*" or start with user/, federated-user/, role/, group/, ` +
		`instance-profile/, mfa/, server-certificate/, policy/, sms-mfa/, saml-provider/, oidc-provider/, report/, ` +
		`access-report/.`
)

// Size returns the number of characters of a document that count against AWS's quotas: all but
// white space.
func Size(src []byte) int {
	n := utf8.RuneCount(src)
	for _, c := range src {
		if c == ' ' || c == '\t' || c == '\n' || c == '\r' {
			n--
		}
	}
	return n
}

// InvalidPrincipal returns the error of a trust policy that names a missing user or role, or a
// principal that no policy can name.
func InvalidPrincipal(ref PrincipalRef) *ValidationError {
	return &ValidationError{
		Code:    CodeMalformedDocument,
		Message: `Invalid principal in policy: "` + ref.Type + `":"` + ref.Value + `"`,
	}
}

// Validate checks a document as AWS does when it is saved. The error is a *ValidationError. The caller must check
// that principals exist and quotas are met ([Document.Principals], [Size]).
func Validate(src []byte, kind Kind) error {
	v := validator{kind: kind, code: CodeMalformedDocument}
	if kind == KindResource {
		v.code = CodeMalformedResource
	}
	if e := v.document(src); e != nil {
		return e
	}
	return nil
}

type validator struct {
	kind Kind
	code string
	vars bool // the document's version has policy variables
}

func (v *validator) refuse(message, detail string) *ValidationError {
	return &ValidationError{Code: v.code, Message: message, Detail: detail}
}

// document runs AWS's checks in AWS's order; the first that fails decides.
func (v *validator) document(src []byte) *ValidationError {
	if e := characters(src); e != nil {
		return e
	}
	doc, err := readDocument(src, true)
	if err != nil {
		return v.refuse(msgSyntax, err.Error())
	}
	// As in AWS, trust and resource policies may use the older version, which
	// is also the default.
	if doc.version != version2012 && v.kind != KindResource && v.kind != KindTrust {
		return v.refuse(msgVersion, "")
	}
	v.vars = doc.version == version2012
	if e := each(doc, v.legacy); e != nil {
		return e
	}
	if e := v.sids(doc); e != nil {
		return e
	}
	for _, check := range []func(*rawStatement) *ValidationError{
		v.hasActions, v.resources, v.actions, v.hasResources, v.noPrincipal, v.trust, v.resourcePrincipal,
	} {
		if e := each(doc, check); e != nil {
			return e
		}
	}
	return nil
}

func each(doc *rawDocument, check func(*rawStatement) *ValidationError) *ValidationError {
	for i := range doc.statements {
		if e := check(&doc.statements[i]); e != nil {
			return e
		}
	}
	return nil
}

func characters(src []byte) *ValidationError {
	const head = "1 validation error detected: Value at 'policyDocument' failed to satisfy constraint: Member must "
	if len(src) == 0 {
		return &ValidationError{Code: CodeValidation, Message: head + "have length greater than or equal to 1"}
	}
	if utf8.RuneCount(src) > maxDocument {
		return &ValidationError{Code: CodeValidation, Message: head + "have length less than or equal to 131072"}
	}
	for _, c := range string(src) {
		if c > 0xFF || c < 0x20 && c != '\t' && c != '\n' && c != '\r' {
			return &ValidationError{
				Code:    CodeValidation,
				Message: head + `satisfy regular expression pattern: [\u0009\u000A\u000D\u0020-\u00FF]+`,
			}
		}
	}
	return nil
}

// legacy checks for errors of AWS's older parser, and for values that no request can match: in a
// Deny, such a value would silently deny nothing.
func (v *validator) legacy(s *rawStatement) *ValidationError {
	if s.effect != "Allow" && s.effect != "Deny" {
		return v.refuse(msgLegacy, "Effect must be spelled Allow or Deny")
	}
	var compiled []*condition
	for i := range s.conditions {
		c := &s.conditions[i]
		recurs, err := c.compile(v.vars, s.effect == "Deny")
		if err != nil {
			return v.refuse(msgLegacy, err.Error())
		}
		if compiled = append(compiled, recurs); recurs.recurs != nil {
			continue
		}
		for _, value := range c.values {
			if why := neverMatches(c.op.cmp, value, v.vars); why != "" {
				return v.refuse(msgLegacy, c.opName+" "+c.key+": "+value+" "+why)
			}
		}
	}
	if why := contradiction(compiled); why != "" {
		return v.refuse(msgLegacy, why)
	}
	if v.vars {
		for _, c := range compiled {
			if usesRecurring(c.patterns) {
				return v.refuse(msgLegacy, "recurring times cannot be used as variables: "+c.rawKey)
			}
		}
	}
	for _, r := range s.allResources() {
		if v.vars && usesRecurring([]pattern{compilePattern(r, modeResource, true)}) {
			return v.refuse(msgLegacy, "recurring times cannot be used as variables: "+r)
		}
		parts := strings.Split(r, ":")
		if len(parts) > 2 && (parts[2] == "" || len(parts) < 6 && strings.Contains(r, "::")) {
			return v.refuse(msgLegacy, r+" is not a complete ARN")
		}
	}
	return nil
}

func (s *rawStatement) allResources() []string { return append(slices.Clip(s.res), s.notRes...) }
func (s *rawStatement) allActions() []string   { return append(slices.Clip(s.action), s.notAction...) }

func (v *validator) sids(doc *rawDocument) *ValidationError {
	seen := map[string]bool{}
	for _, s := range doc.statements {
		if s.sid != "" && seen[s.sid] {
			return v.refuse(msgSidUnique, "")
		}
		seen[s.sid] = true
	}
	if v.kind == KindResource {
		return nil
	}
	for _, s := range doc.statements {
		for _, c := range []byte(s.sid) {
			if !alphanumeric(c) {
				return v.refuse(msgSidAlpha, "")
			}
		}
	}
	return nil
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func (v *validator) hasActions(s *rawStatement) *ValidationError {
	if len(s.allActions()) == 0 {
		return v.refuse(msgNoActions, "")
	}
	return nil
}

func (v *validator) hasResources(s *rawStatement) *ValidationError {
	if v.kind != KindTrust && len(s.allResources()) == 0 {
		return v.refuse(msgNoResource, "")
	}
	return nil
}

func (v *validator) resources(s *rawStatement) *ValidationError {
	for _, r := range s.allResources() {
		if msg := resourceFault(r); msg != "" {
			return v.refuse(msg, "")
		}
	}
	return nil
}

// resourceFault returns AWS's message for an invalid resource, or "".
func resourceFault(r string) string {
	if r == "*" {
		return ""
	}
	notARN := "Resource " + r + ` must be in ARN format or "*".`
	parts := strings.SplitN(r, ":", 6)
	if len(parts) == 1 {
		return notARN
	}
	if !validPartition(parts[1]) {
		shown := [4]string{"*", "*", "*", "*"}
		copy(shown[:], parts[2:])
		return `Partition "` + parts[1] + `" is not valid for resource "arn:` + parts[1] + ":" + strings.Join(
			shown[:],
			":",
		) + `".`
	}
	if parts[0] != "arn" {
		return notARN
	}
	if len(parts) == 2 || strings.ContainsAny(parts[2], "*?") && len(parts) > 3 || parts[2] == "" {
		return msgVendor
	}
	// A short ARN is valid if its last star covers the rest; without a star it matches nothing, and
	// with an earlier star it is ambiguous.
	last := parts[len(parts)-1]
	if len(parts) < 6 && (!strings.HasSuffix(last, "*") ||
		last != "*" && strings.Contains(strings.Join(parts[3:len(parts)-1], ":"), "*")) {
		return notARN
	}
	if len(parts) < 4 {
		return ""
	}
	region, rest := parts[3], parts[len(parts)-1]
	switch parts[2] {
	case "s3":
		if region != "" && !(len(parts) == 6 && strings.HasPrefix(rest, "accesspoint")) {
			return "Resource " + r + " can not contain region information."
		}
	case "iam":
		if region != "" {
			return "IAM resource " + r + " cannot contain region information."
		}
		if rest != "*" && !iamPath(rest) {
			return msgIAMPath
		}
	}
	return ""
}

func validPartition(p string) bool {
	for _, known := range [...]string{"aws", "aws-cn", "aws-us-gov"} {
		if p == known || strings.ContainsAny(p, "*?") && globFold(p, known) {
			return true
		}
	}
	return false
}

func iamPath(rest string) bool {
	for _, prefix := range [...]string{
		"user/", "federated-user/", "role/", "group/", "instance-profile/", "mfa/", "server-certificate/",
		"policy/", "sms-mfa/", "saml-provider/", "oidc-provider/", "report/", "access-report/",
	} {
		if strings.HasPrefix(rest, prefix) {
			return true
		}
	}
	return false
}

func (v *validator) actions(s *rawStatement) *ValidationError {
	for _, a := range s.allActions() {
		if a == "*" {
			continue
		}
		vendor, _, ok := strings.Cut(a, ":")
		switch {
		case !ok:
			return v.refuse(msgNoPrefix, "")
		case strings.Count(a, ":") > 1:
			return v.refuse(msgColons, "")
		case vendor != "*" && !validVendor(vendor):
			return v.refuse("Vendor "+vendor+" is not valid", "")
		}
	}
	return nil
}

func validVendor(s string) bool {
	for _, c := range []byte(s) {
		if !alphanumeric(c) && c != '.' && c != '-' {
			return false
		}
	}
	return s != ""
}

func (v *validator) noPrincipal(s *rawStatement) *ValidationError {
	switch v.kind {
	case KindIdentity, KindBoundary, KindSession, KindSCP:
		if s.hasPrincipal || s.hasNotPrincipal {
			return v.refuse(msgPrincipal, "")
		}
	case KindResource, KindTrust:
	}
	return nil
}

func (v *validator) trust(s *rawStatement) *ValidationError {
	if v.kind != KindTrust {
		return nil
	}
	for _, field := range []struct {
		present bool
		name    string
	}{{s.hasRes, "Resource"}, {s.hasNotRes, "NotResource"}, {s.hasNotPrincipal, "NotPrincipal"}} {
		if field.present {
			return v.refuse("Has prohibited field "+field.name+".", "")
		}
	}
	if s.hasNot {
		return v.refuse(msgTrustVerbs, "NotAction")
	}
	for _, a := range s.action {
		switch lowerASCII(a) {
		case "sts:assumerole", "sts:assumerolewithsaml", "sts:assumerolewithwebidentity",
			"sts:tagsession", "sts:setsourceidentity", "sts:setcontext":
		default:
			return v.refuse(msgTrustVerbs, a)
		}
	}
	return v.who(s)
}

func (v *validator) resourcePrincipal(s *rawStatement) *ValidationError {
	if v.kind != KindResource {
		return nil
	}
	return v.who(s)
}

// who checks the form of principals in trust and resource policies.
func (v *validator) who(s *rawStatement) *ValidationError {
	if len(s.principal) == 0 {
		return v.refuse(msgNeedsWho, "")
	}
	for _, ref := range s.principal {
		if !validPrincipal(ref) {
			e := InvalidPrincipal(ref)
			e.Code = v.code
			return e
		}
	}
	return nil
}

// validPrincipal reports whether a principal value has one of AWS's forms, without wildcards except
// the lone "*".
func validPrincipal(ref PrincipalRef) bool {
	if ref.Type == "AWS" && ref.Value == "*" {
		return true
	}
	if ref.Value == "" || strings.ContainsAny(ref.Value, "*? ") {
		return ref.Value == "*" && ref.Type == "Federated"
	}
	if ref.Type != "AWS" {
		return true
	}
	if _, ok := accountOf(ref.Value); ok {
		return true
	}
	if strings.HasPrefix(ref.Value, "arn:") {
		p := strings.SplitN(ref.Value, ":", 6)
		return len(p) == 6 && validPartition(p[1]) && (p[2] == "iam" || p[2] == "sts") &&
			len(p[4]) == 12 && allDigits(p[4]) && strings.Contains(p[5], "/")
	}
	// A unique ID, which AWS stores instead of an ARN.
	for _, c := range []byte(ref.Value) {
		if !alphanumeric(c) {
			return false
		}
	}
	return len(ref.Value) >= 16
}
