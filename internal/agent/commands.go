package agent

import (
	"context"
	"net/http"
	"path/filepath"
	"time"

	"sekisho/internal/agent/hostinfo"
	"sekisho/internal/agent/runcommand"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/netguard"
	"sekisho/internal/wire/mgs"
)

// openCommands returns the runner of the commands that the server sends.
func (a *Agent) openCommands(ctx context.Context) (*runcommand.Runner, error) {
	name, version := hostinfo.Platform()
	env := map[string]string{
		"AWS_SSM_INSTANCE_ID":      string(a.ident.Node),
		"AWS_SSM_REGION_NAME":      a.region,
		"AWS_SSM_PLATFORM_NAME":    name,
		"AWS_SSM_PLATFORM_VERSION": version,
	}
	if user, err := a.cfg.Users.Elevated(); err == nil {
		env["HOME"], env["USER"], env["LOGNAME"] = user.Home, user.Name, user.Name
	}
	return runcommand.Open(ctx, runcommand.Config{
		Dir:      filepath.Join(a.cfg.StateDir, "commands"),
		Node:     a.ident.Node,
		Off:      a.cfg.NoCommands,
		Workers:  a.cfg.MaxCommands,
		Services: a.client,
		Web:      web{a.client, netguard.Transport(webDialTimeout)},
		Agent: mgs.CommandAgent{
			Lang:      "en-US",
			Name:      uplink.Name,
			OS:        "linux",
			OSVersion: "1",
			Version:   uplink.Version,
		},
		Environment: env,
		Log:         a.cfg.Log,
		Reply: func(job string, reply mgs.UUID, load func() (mgs.CommandReply, error)) {
			a.control.Reply(job, reply, load)
		},
	})
}

// web is the transport for commands' downloads. For the agent's own server, it trusts the CA of the
// agent's registration.
type web struct {
	client *uplink.Client
	others http.RoundTripper
}

// webDialTimeout bounds connecting to a server that a command downloads from.
const webDialTimeout = 30 * time.Second

// RoundTrip implements http.RoundTripper.
func (w web) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != w.client.Host() || req.URL.Scheme != "https" {
		return w.others.RoundTrip(req)
	}
	own := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: w.client.TLS(), DisableKeepAlives: true}
	return own.RoundTrip(req)
}
