package crashtest

import (
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
)

const (
	postgresShare = 40 // of -kills, one of so many is over PostgreSQL
	databaseShare = 4  // and of those one of so many ends PostgreSQL as well
)

// The same over PostgreSQL, which is ended at times too, as a failure ends it.
func TestKilledOverPostgreSQL(t *testing.T) {
	t.Parallel()
	p := built(t)
	f := &figures{began: time.Now()}
	chance := rand.New(rand.NewPCG(theSeed(), 6<<32))
	database := postgrestest.Start(t, postgrestest.Options{Durable: true})
	s := newStation(p, t.TempDir(), chance)
	t.Cleanup(s.end)
	s.database, s.wire.all = database.URL(database.Database(t)), &f.wrote
	if err := errors.Join(os.Mkdir(s.place, 0o700), s.prepare()); err != nil {
		t.Fatal(err)
	}
	crashes := 0
	var failed error
	conclude(t, func() outcome { return f.outcome("kill -9, over PostgreSQL", failed) })
	for n := range max(8, *kills/postgresShare) {
		crashed := make(chan struct{})
		s.strike = s.kill
		withDatabase := n%databaseShare == databaseShare-1
		if withDatabase {
			s.strike = func() {
				defer close(crashed)
				s.wire.dying.Store(true)
				database.Crash()
				s.kill()
			}
		}
		starting := f.starting.Load()
		if failed = s.killOnce(t.Context(), f); failed != nil {
			t.Fatalf("seed %d, life %d: %v\n%s", theSeed(), n, failed, &s.life.log)
		}
		if withDatabase && f.starting.Load() == starting {
			<-crashed
			database.Run(t)
			crashes++
		}
		if n%perCheck == perCheck-1 {
			f.checks.Add(1)
			if failed = s.check(); failed != nil {
				t.Fatalf("seed %d, life %d: %v", theSeed(), n, failed)
			}
		}
	}
	f.checks.Add(1)
	if failed = s.last(t.Context()); failed != nil {
		t.Fatalf("seed %d: %v", theSeed(), failed)
	}
	t.Logf("over PostgreSQL, %v; PostgreSQL itself was ended %d times; lost: 0; seed %d", f, crashes, theSeed())
}
