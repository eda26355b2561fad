package storetest

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

const (
	importAccounts = 20
	importEntries  = 500 // of each account
)

// Whole is a store with all that an operator does with it.
type Whole interface {
	store.Store
	store.Maintenance
}

// BenchImport measures how fast a store takes a copy. It also writes as many rows of
// the same size into a table without keys, one in a statement, and reports how many
// times longer that takes.
func BenchImport(b *testing.B, open func(b *testing.B) (Whole, *sql.DB)) {
	copied, rows := benchCopy(b, open)
	var took, single time.Duration
	for b.Loop() {
		s, db := open(b)
		begun := time.Now()
		err := s.Import(b.Context(), bytes.NewReader(copied), func(context.Context, store.Maintained) error { return nil })
		took += time.Since(begun)
		if err != nil {
			b.Fatal(err)
		}
		begun = time.Now()
		if err := insertSingly(b.Context(), db, rows, len(copied)/rows); err != nil {
			b.Fatal(err)
		}
		single += time.Since(begun)
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows*b.N)/took.Seconds(), "rows/s")
	b.ReportMetric(float64(len(copied)*b.N)/took.Seconds()/1e6, "MB/s")
	b.ReportMetric(float64(single)/float64(took), "times-faster-than-singly")
}

// benchCopy returns a copy of a store with many entries, and how many rows it has.
func benchCopy(b *testing.B, open func(b *testing.B) (Whole, *sql.DB)) (copied []byte, rows int) {
	s, _ := open(b)
	for i := range importAccounts {
		entry, key := Genesis()
		id, _ := entry.Account()
		name := fmt.Sprint("account ", i)
		spend := func(n int) store.Spend {
			return store.Spend{Key: id[:], Nonce: []byte{byte(n)}, Now: start, Expires: start.Add(time.Minute)}
		}
		if err := s.Create(b.Context(), store.Creation{Spend: spend(0), Name: name, NameKey: name, Genesis: entry}); err != nil {
			b.Fatal(err)
		}
		var entries []*ledger.Entry
		for head := entry.Head(); len(entries) < importEntries; head = entries[len(entries)-1].Head() {
			entries = append(entries, Next(id, key, head))
		}
		if err := s.Append(b.Context(), store.Append{Spend: spend(1), Account: id, Head: entry.Head(), Entries: entries}); err != nil {
			b.Fatal(err)
		}
		rows += 1 + 1 + importEntries + 2 // the account, its entries, and nonces
	}
	var out bytes.Buffer
	if err := s.Export(b.Context(), &out, func(store.Copy) error { return nil }); err != nil {
		b.Fatal(err)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return out.Bytes(), rows
}

func insertSingly(ctx context.Context, db *sql.DB, rows, size int) error {
	if _, err := db.ExecContext(ctx, `CREATE TABLE singly (account BYTEA, sequence BIGINT, entry BYTEA)`); err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing is left of it after the commit
	insert, err := tx.PrepareContext(ctx, `INSERT INTO singly VALUES ($1, $2, $3)`)
	if err != nil {
		return err
	}
	account, entry := random(32), random(max(1, size-40))
	for i := range rows {
		if _, err := insert.ExecContext(ctx, account, i, entry); err != nil {
			return err
		}
	}
	return tx.Commit()
}
