package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the Prometheus metrics of the administrative listener.
type metrics struct {
	registry *prometheus.Registry
	calls    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	audit    *prometheus.CounterVec
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sekisho_api_calls_total",
			Help: "Calls of the API by service, operation and error code; an empty code is a success.",
		}, []string{"service", "operation", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sekisho_api_call_seconds", Help: "Time from a call's headers to its audit event.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9), // 0.5 ms to 33 s
		}, []string{"service"}),
		audit: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sekisho_audit_transactions_total", Help: "Transactions that stored audit events, by result.",
		}, []string{"result"}),
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	m.registry.MustRegister(
		m.calls,
		m.seconds,
		m.audit,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		gauge(
			"sekisho_nodes_connected",
			"Nodes whose control channel is open.",
			func() float64 { return float64(s.Channels.Count()) },
		),
		gauge(
			"sekisho_sessions_active",
			"Sessions that the relay carries.",
			func() float64 { return float64(s.relay.Count()) },
		),
		gauge(
			"sekisho_recordings_unsealed",
			"Recordings of ended sessions that could not be sealed yet.",
			func() float64 { return float64(s.unsealed.count()) },
		),
		gauge(
			"sekisho_recordings_bytes",
			"Bytes that recordings take on the disk, as of a minute ago.",
			func() float64 { return float64(s.recordingBytes.Load()) },
		),
		gauge(
			"sekisho_recording_store_up",
			"1 while the store of recordings works, or if there is none.",
			func() float64 {
				if s.recorder.StoreState().Problem != "" {
					return 0
				}
				return 1
			},
		),
		gauge(
			"sekisho_recording_store_waiting_bytes",
			"Bytes of recordings that the store does not have yet.",
			func() float64 { return float64(s.recorder.StoreState().Waiting) },
		),
		gauge(
			"sekisho_recording_store_waiting_recordings",
			"Sealed recordings that the store does not have yet.",
			func() float64 { return float64(s.recorder.StoreState().Recordings) },
		),
		gauge("sekisho_ready", "1 while the server can do its work and is not draining.", func() float64 {
			if s.state.draining.Load() || len(s.check(s.done)) > 0 {
				return 0
			}
			return 1
		}),
	)
	return m
}

// call counts an API call.
func (m *metrics) call(service, operation, code string, took time.Duration) {
	m.calls.WithLabelValues(service, operation, code).Inc()
	m.seconds.WithLabelValues(service).Observe(took.Seconds())
}

// stored counts a transaction of the audit trail.
func (m *metrics) stored(err error) {
	result := "stored"
	if err != nil {
		result = "failed"
	}
	m.audit.WithLabelValues(result).Inc()
}

// AdminHandler serves operators of this machine: health, metrics, profiles and draining. It has
// no authentication.
func (s *Server) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", s.live)
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	drain := func(on bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if s.state.draining.Swap(on) != on {
				s.cfg.Log.Info("draining", "on", on)
			}
			s.say(w, http.StatusOK, map[bool]string{true: "draining", false: "serving"}[on])
		}
	}
	mux.Handle("POST /drain", drain(true))
	mux.Handle("POST /undrain", drain(false))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return localOnly(mux)
}

// localOnly refuses requests that a web page made through a browser: a page can reach ports of this
// machine with DNS rebinding.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		ip := net.ParseIP(host)
		if host != "localhost" && (ip == nil || !ip.IsLoopback()) || r.Header.Get("Origin") != "" {
			http.Error(w, "this listener is for programs on this machine", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serveAdmin serves the administrative listener until ctx ends.
func (s *Server) serveAdmin(ctx context.Context, l net.Listener) {
	srv := &http.Server{
		Handler: s.AdminHandler(), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() }) // profiles need not be finished
	defer stop()
	if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		s.cfg.Log.Error("administrative listener failed", "error", err)
	}
}
