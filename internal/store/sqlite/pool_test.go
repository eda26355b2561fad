package sqlite

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/store/sqlstore"
)

func testPool(t *testing.T, most int) (p *pool, opened *atomic.Int64) {
	path := filepath.Join(t.TempDir(), "db")
	opened = new(atomic.Int64)
	p = newPool(most, func() (*conn, error) {
		opened.Add(1)
		return openConn(path, readerCache)
	})
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	return p, opened
}

// No more use connections at a time than may, each has its own, and none is opened
// twice that could be used again.
func TestPoolIsBounded(t *testing.T) {
	const most = 3
	p, opened := testPool(t, most)
	var using atomic.Int64
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			for range 20 {
				c, err := p.get(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if n := using.Add(1); n > most {
					t.Errorf("%d use connections", n)
				}
				var one int
				if err := (querier{c}).QueryRowContext(t.Context(), `SELECT 1`).Scan(&one); err != nil {
					t.Error(err)
				}
				using.Add(-1)
				if err := p.put(c); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if n := opened.Load(); n > most {
		t.Errorf("%d were opened", n)
	}
}

// Whoever waits for a connection waits no longer than its context lives, and is told
// when the pool closes; and closing waits for those who use one.
func TestPoolWaits(t *testing.T) {
	p, _ := testPool(t, 1)
	c, err := p.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := p.get(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it waits for too long: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.get(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("for somebody who is gone: %v", err)
	}
	waiting, closed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := p.get(t.Context())
		waiting <- err
	}()
	go func() { closed <- p.close() }()
	if err := <-waiting; !errors.Is(err, errClosed) {
		t.Errorf("whoever waits gets %v", err)
	}
	select {
	case err := <-closed:
		t.Errorf("it is closed while a connection is in use: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	if err := p.put(c); err != nil {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if c.db != 0 {
		t.Error("the connection is open")
	}
	if _, err := p.get(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("afterwards: %v", err)
	}
}

// A file that cannot be opened takes nobody's place.
func TestPoolCannotOpen(t *testing.T) {
	p := newPool(1, func() (*conn, error) { return openConn(filepath.Join(t.TempDir(), "no", "db"), readerCache) })
	for range 2 {
		if _, err := p.get(t.Context()); err == nil || errors.Is(err, errClosed) {
			t.Fatalf("it opens: %v", err)
		}
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
}

// Rows that are left open are an error, and harm nobody who comes later.
func TestLeftOpen(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "server.db"))
	defer func() { _ = s.Close() }()
	var left []sqlstore.Rows
	leave := func(ctx context.Context, tx sqlstore.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT 1 UNION ALL SELECT 2`)
		if err == nil && !rows.Next() {
			err = rows.Err()
		}
		left = append(left, rows)
		return err
	}
	if err := s.db.Read(t.Context(), leave); !errors.Is(err, errLeft) {
		t.Errorf("a read: %v", err)
	}
	if err := s.db.Change(t.Context(), func(ctx context.Context, tx sqlstore.Tx) error {
		return errors.Join(adds(1, done)(ctx, tx), leave(ctx, tx))
	}); !errors.Is(err, errLeft) {
		t.Errorf("a change: %v", err)
	}
	for _, rows := range left {
		var n int
		if rows.Next() || rows.Scan(&n) == nil || rows.Close() == nil {
			t.Error("rows live on")
		}
	}
	if err := s.db.Change(t.Context(), adds(2, done)); err != nil {
		t.Error(err)
	}
	if all := added(t, s); !slices.Equal(all, []int{2}) {
		t.Errorf("there are %v", all)
	}
}

const endless = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n`

// A read ends soon when whoever asked is gone, at whatever moment, and others who use
// its connection afterwards do not.
func TestReadIsCancelled(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "server.db"))
	defer func() { _ = s.Close() }()
	for i := range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Duration(i)*10*time.Microsecond, cancel)
		err := s.db.Read(ctx, func(ctx context.Context, tx sqlstore.Tx) error {
			var n int
			return tx.QueryRowContext(ctx, endless).Scan(&n)
		})
		if err != context.Canceled {
			t.Fatalf("it ended with %v", err)
		}
		if all := added(t, s); len(all) != 0 {
			t.Fatalf("there are %v", all)
		}
	}
	// And one that reads many rows.
	ctx, cancel := context.WithCancel(t.Context())
	err := s.db.Read(ctx, func(ctx context.Context, tx sqlstore.Tx) error {
		rows, err := tx.QueryContext(ctx, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n`)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			cancel()
		}
		return rows.Err()
	})
	if err != context.Canceled {
		t.Errorf("rows ended with %v", err)
	}
	if err := s.db.ReadOnce(ctx, func(context.Context, sqlstore.Querier) error { return errors.New("it was run") }); err != context.Canceled {
		t.Errorf("for somebody who is gone: %v", err)
	}
}

// A read sees one state, whatever is committed beside it, and one statement alone the
// newest.
func TestReadSeesOneState(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "server.db"))
	defer func() { _ = s.Close() }()
	count := func(ctx context.Context, q sqlstore.Querier) (n int) {
		if err := q.QueryRowContext(ctx, `SELECT COUNT(*) FROM removed`).Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
	if err := s.db.Read(t.Context(), func(ctx context.Context, tx sqlstore.Tx) error {
		before := count(ctx, tx)
		if err := s.db.Change(ctx, adds(1, done)); err != nil {
			return err
		}
		if after := count(ctx, tx); before != 0 || after != 0 {
			t.Errorf("it sees %d, then %d", before, after)
		}
		return s.db.ReadOnce(ctx, func(ctx context.Context, q sqlstore.Querier) error {
			if n := count(ctx, q); n != 1 {
				t.Errorf("beside it %d are seen", n)
			}
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
}
