package sqlstore_test

import (
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/cluster"
	"sekisho/internal/session/broker"
	"sekisho/internal/store/sqlstore"
	"sekisho/internal/store/storetest"
)

func TestCluster(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, open func(t testing.TB) *sqlstore.DB) {
		storetest.Cluster(t, func(t *testing.T) cluster.Store { return open(t).Cluster })
	})
}

// Two members with one database: only the owner of a session changes its status, and unfinished calls are recorded by
// the member that served them.
func TestMembersOfOneDatabase(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, database func(t testing.TB) location) {
		at := database(t)
		dbs := map[string]*sqlstore.DB{}
		epochs := map[string]int64{}
		for _, name := range []string{"m1", "m2"} {
			db := at.mustOpen(t)
			epoch, ok, err := db.Cluster.Join(t.Context(), &cluster.Member{Name: name, Instance: name}, time.Hour)
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			db.SetMember(name, func() int64 { return epochs[name] })
			dbs[name], epochs[name] = db, epoch
		}
		const id = "alice-1"
		err := dbs["m1"].Sessions.CreateSession(t.Context(),
			&sekisho.Session{ID: id, Status: sekisho.SessionConnecting}, broker.Token{Hash: []byte("t")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dbs["m1"].Cluster.ClaimSession(t.Context(), id, "m1", epochs["m1"]); err != nil {
			t.Fatal(err)
		}
		change := func(name string, want sekisho.Code, f func(s *sekisho.Session)) {
			t.Helper()
			err := dbs[name].Sessions.UpdateSession(t.Context(), id, func(s *sekisho.Session) error { f(s); return nil })
			if sekisho.CodeOf(err) != want {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
		end := func(s *sekisho.Session) { s.Status = sekisho.SessionTerminated }
		change("m2", sekisho.CodeConflict, end)
		change("m2", "", func(s *sekisho.Session) { s.Logs.Reported = true })
		change("m1", "", func(s *sekisho.Session) { s.Status = sekisho.SessionConnected })
		epochs["m1"]++ // this process is an earlier one of m1 by now
		change("m1", sekisho.CodeConflict, end)

		for _, name := range []string{"m1", "m2"} {
			err := dbs[name].Audit.AppendAudit(t.Context(),
				audit.Batch{Begun: []audit.Intent{{ID: "of " + name, Body: []byte("{}")}}})
			if err != nil {
				t.Fatal(err)
			}
		}
		for name, db := range dbs {
			own, err := db.Audit.AuditIntents(t.Context(), 10)
			if err != nil || len(own) != 1 || own[0].ID != "of "+name {
				t.Errorf("%s: %+v %v", name, own, err)
			}
		}
	})
}
