package servertest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// Browser is a page of the console with its cookies.
type Browser struct {
	s       *Server
	cookies map[string]string
	csrf    string
	host    string // the Origin header; empty for the server's own origin
}

// Browser opens the console, signed out.
func (s *Server) Browser() *Browser { return &Browser{s: s, cookies: map[string]string{}} }

// At has the browser open the server under another name.
func (b *Browser) At(host string) *Browser {
	b.host = host
	return b
}

// Visit follows a link from another site, but no redirect.
func (b *Browser) Visit(path string) Answer {
	b.s.t.Helper()
	r, err := http.NewRequestWithContext(b.s.t.Context(), http.MethodGet, b.s.URL+path, nil)
	if err != nil {
		b.s.t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	return b.send(r)
}

// Request sends a request as a page of the console does.
func (b *Browser) Request(method, path string, in any, header ...string) Answer {
	b.s.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		b.s.t.Fatal(err)
	}
	return b.request(method, path, string(body), header...)
}

func (b *Browser) request(method, path, body string, header ...string) Answer {
	b.s.t.Helper()
	r, err := http.NewRequestWithContext(b.s.t.Context(), method, b.s.URL+path, strings.NewReader(body))
	if err != nil {
		b.s.t.Fatal(err)
	}
	r.Header.Set("Origin", b.s.URL)
	if b.host != "" {
		r.Host = b.host
		r.Header.Set("Origin", "https://"+b.host)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Sekisho-Csrf", b.csrf)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	a := b.send(r)
	var out struct{ CSRF string }
	if json.Unmarshal([]byte(a.Body), &out) == nil && out.CSRF != "" {
		b.csrf = out.CSRF
	}
	return a
}

// send sends a request with the browser's cookies and stores those of the
// response.
func (b *Browser) send(r *http.Request) Answer {
	b.s.t.Helper()
	for k, v := range b.cookies {
		r.AddCookie(&http.Cookie{Name: k, Value: v})
	}
	before := b.s.http.CheckRedirect
	b.s.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	defer func() { b.s.http.CheckRedirect = before }()
	a := b.s.send(r)
	for _, c := range (&http.Response{Header: a.Header}).Cookies() {
		if b.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return a
}

// SignIn signs in with a password.
func (b *Browser) SignIn(user, password string) Answer {
	b.s.t.Helper()
	return b.Request(http.MethodPost, "/console/api/session", map[string]string{"user": user, "password": password})
}

// Call makes an AWS call, such as AmazonSSM.StartSession.
func (b *Browser) Call(target string, in any) Answer {
	b.s.t.Helper()
	return b.Request(
		http.MethodPost,
		"/console/api/aws",
		in,
		"Content-Type",
		"application/x-amz-json-1.1",
		"X-Amz-Target",
		target,
	)
}

// Query makes an IAM call, such as ChangePassword.
func (b *Browser) Query(action string, pairs ...string) Answer {
	b.s.t.Helper()
	form := url.Values{"Action": {action}, "Version": {"2010-05-08"}}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return b.Form("iam", form)
}

// Form makes a call of a service with the query protocol.
func (b *Browser) Form(service string, form url.Values) Answer {
	b.s.t.Helper()
	return b.request(
		http.MethodPost,
		"/console/api/aws",
		form.Encode(),
		"Content-Type",
		"application/x-www-form-urlencoded",
		"X-Sekisho-Service",
		service,
	)
}

// Cookie returns the value of a cookie.
func (b *Browser) Cookie(name string) string { return b.cookies[name] }
