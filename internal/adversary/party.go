package adversary

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	_ "modernc.org/sqlite" // the driver that reads the server's file

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/slip39"
)

// Party is everything that one party has, unlocked. It prints as [secret]. Make
// it with [Server], [Device] or [Sheet], or of several with [Together].
type Party struct {
	mu     sync.Mutex
	known  *knowledge // nil after Erase
	closed bool       // everything that the party can open alone is in known
}

// Server takes a copy of a server's SQLite file, with its write-ahead log if
// there is one beside it, and the server's key file.
func Server(database, keyFile string) (*Party, error) {
	p := &Party{known: newKnowledge()}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("adversary: key file: %w", err)
	}
	p.known.take(key, scope{})
	if err := p.known.takeDatabase(database); err != nil {
		p.Erase()
		return nil, fmt.Errorf("adversary: %s: %w", database, err)
	}
	return p, nil
}

// takeDatabase takes a database's bytes, deleted pages and all, and every value
// of every table. It reads a copy, because SQLite would change the file.
func (k *knowledge) takeDatabase(database string) (err error) {
	dir, err := os.MkdirTemp("", "zeropass-adversary-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	copied := filepath.Join(dir, "copy.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(database + suffix)
		if suffix != "" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		k.text(b)
		if err := os.WriteFile(copied+suffix, b, 0o600); err != nil {
			return err
		}
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: copied}).String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tables, err := tableNames(db)
	if err != nil {
		return err
	}
	for _, table := range tables {
		if err := k.takeTable(db, table); err != nil {
			return fmt.Errorf("table %s: %w", table, err)
		}
	}
	return nil
}

func tableNames(db *sql.DB) (names []string, err error) {
	rows, err := db.Query(`SELECT name FROM sqlite_master WHERE type = 'table'`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

func (k *knowledge) takeTable(db *sql.DB, table string) (err error) {
	rows, err := db.Query(`SELECT * FROM "` + strings.ReplaceAll(table, `"`, `""`) + `"`)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	values := make([]any, len(columns))
	pointers := make([]any, len(columns))
	for i := range values {
		pointers[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(pointers...); err != nil {
			return err
		}
		row := map[string]any{}
		for i, name := range columns {
			row[name] = values[i]
		}
		k.takeRow(row)
	}
	return rows.Err()
}

// Device takes the directory of a device, an owner's or a contact's, with its
// passphrase. The confirm passphrase is not the adversary's.
func Device(dir string, passphrase []byte) (*Party, error) {
	h, err := home.OpenReadOnly(dir)
	if err != nil {
		return nil, fmt.Errorf("adversary: %s: %w", dir, err)
	}
	defer func() { _ = h.Close() }()
	if err := h.Unlock(passphrase); err != nil {
		return nil, fmt.Errorf("adversary: %s: %w", dir, err)
	}
	secret, err := h.DeviceSecret()
	if err != nil {
		return nil, fmt.Errorf("adversary: %s: %w", dir, err)
	}
	p := &Party{known: newKnowledge()}
	p.known.opened(secret, scope{})
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		p.known.takeFile(filepath.ToSlash(name), b)
		return nil
	})
	if err != nil {
		p.Erase()
		return nil, fmt.Errorf("adversary: %s: %w", dir, err)
	}
	return p, nil
}

// Sheet takes words that were printed: of shares, and of a sheet's approval key.
func Sheet(words ...string) (*Party, error) {
	p := &Party{known: newKnowledge()}
	for i, text := range words {
		share, err := slip39.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("adversary: words %d: %w", i+1, err)
		}
		p.known.text([]byte(text))
		p.known.addShare(share)
	}
	return p, nil
}

// Erase zeroes what the party has. It is of no use afterwards, nor is anything
// that it was put together to.
func (p *Party) Erase() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known != nil {
		p.known.erase()
		p.known = nil
	}
}

// eraseApart zeroes what none of the parties had that were put together.
func (p *Party) eraseApart(from []*Party) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range from {
		one.mu.Lock()
		p.known.forget(one.known)
		one.mu.Unlock()
	}
	p.known.erase()
	p.known = nil
}

// close finds everything that the party can open alone, once.
func (p *Party) close(ctx context.Context) (*knowledge, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		return nil, errErased
	}
	if !p.closed {
		if err := p.known.close(ctx); err != nil {
			return nil, err
		}
		p.closed = true
	}
	return p.known, nil
}

const redacted = "[secret]"

// String returns "[secret]".
func (*Party) String() string { return redacted }

// GoString returns "[secret]".
func (*Party) GoString() string { return redacted }

// Format writes "[secret]" for every verb.
func (*Party) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[secret]".
func (*Party) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]".
func (*Party) MarshalText() ([]byte, error) { return []byte(redacted), nil }
