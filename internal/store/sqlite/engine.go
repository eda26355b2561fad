package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// What runs for every request calls SQLite's own functions, and not package
// database/sql with its driver: those take as long as SQLite itself does, for the names
// and types of columns that nobody asks for, for the names of parameters, and for
// memory that they allocate for each of them each time.

// maxStatements are the texts that a connection keeps. There are fewer in the
// program; where texts are built from parts, all are dropped now and then.
const maxStatements = 256

// conn is one connection, which one goroutine uses at a time.
//
// SQLite compiles a statement each time that its text comes, which takes longer than
// to run most of ours. So a connection keeps what it has compiled until it closes.
// SQLite itself compiles again what a change of the schema has made stale.
type conn struct {
	tls     *libc.TLS
	db      uintptr                 // 0 when it is closed
	out     uintptr                 // place for two pointers that SQLite returns
	free    map[string][]*statement // by text, those that are not running
	running int                     // how many are
	values  []value                 // of the statement that is being bound
}

// failure is an error of SQLite.
type failure struct {
	code int32 // extended
	text string
}

func (f *failure) Error() string { return fmt.Sprintf("sqlite: %s (%d)", f.text, f.code) }

// fail returns the error of the call that has just returned the code.
func (c *conn) fail(code int32) error {
	return &failure{code, libc.GoString(sqlite3.Xsqlite3_errmsg(c.tls, c.db))}
}

const pointerSize = bits.UintSize / 8

// newConn opens a file, or makes it, and runs statements on the connection.
func newConn(path string, statements []string) (*conn, error) {
	c := &conn{tls: libc.NewTLS(), free: map[string][]*statement{}}
	if c.out = libc.Xmalloc(c.tls, 2*pointerSize); c.out == 0 {
		return nil, errors.Join(errMemory, c.close())
	}
	name, err := libc.CString(path)
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	defer libc.Xfree(nil, name)
	code := sqlite3.Xsqlite3_open_v2(c.tls, name, c.out,
		sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_CREATE|sqlite3.SQLITE_OPEN_NOMUTEX|sqlite3.SQLITE_OPEN_EXRESCODE, 0)
	c.db = pointerAt(c.out) // may be there after an error too
	if code != sqlite3.SQLITE_OK {
		return nil, errors.Join(c.fail(code), c.close())
	}
	for _, statement := range statements {
		if _, err := c.exec(statement, nil); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", statement, err), c.close())
		}
	}
	return c, nil
}

var errMemory = errors.New("sqlite: there is no memory")

func pointerAt(p uintptr) uintptr {
	b := libc.GoBytes(p, pointerSize)
	if pointerSize == 4 {
		return uintptr(binary.NativeEndian.Uint32(b))
	}
	return uintptr(binary.NativeEndian.Uint64(b))
}

// close ends the connection, with whatever runs on it.
func (c *conn) close() error {
	if c.tls == nil {
		return nil
	}
	c.drop()
	code := int32(sqlite3.SQLITE_OK)
	if c.db != 0 {
		for s := sqlite3.Xsqlite3_next_stmt(c.tls, c.db, 0); s != 0; s = sqlite3.Xsqlite3_next_stmt(c.tls, c.db, 0) {
			sqlite3.Xsqlite3_finalize(c.tls, s)
		}
		code = sqlite3.Xsqlite3_close_v2(c.tls, c.db)
		c.db = 0
	}
	libc.Xfree(c.tls, c.out)
	c.tls.Close()
	c.tls = nil
	if code != sqlite3.SQLITE_OK {
		return &failure{code, "the connection does not close"}
	}
	return nil
}

// interrupt makes what runs fail, if something does. Any goroutine may call it while
// the connection is open.
func (c *conn) interrupt() {
	tls := libc.NewTLS() // the connection's own belongs to whoever uses it
	defer tls.Close()
	sqlite3.Xsqlite3_interrupt(tls, c.db)
}

// within says whether a transaction has begun and not ended.
func (c *conn) within() bool { return sqlite3.Xsqlite3_get_autocommit(c.tls, c.db) == 0 }

// statement is what SQLite has compiled.
type statement struct {
	conn       *conn
	query      string
	kept       bool
	handle     uintptr
	parameters []int   // the argument of each, from 0
	arguments  int     // how many it takes
	memory     uintptr // where its arguments are while it runs
	size       int     // of that
}

// kept says whether a text is worth keeping: not what comes once.
func kept(query string) bool {
	verb, _, _ := strings.Cut(query, " ")
	switch verb {
	case "SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE":
		return true
	}
	return false
}

// take returns a statement that is not running. Whoever takes it ends it.
func (c *conn) take(query string) (*statement, error) {
	if all := c.free[query]; len(all) > 0 {
		s := all[len(all)-1]
		c.free[query] = all[:len(all)-1]
		c.running++
		return s, nil
	}
	s, err := c.compile(query)
	if err != nil {
		return nil, err
	}
	c.running++
	return s, nil
}

func (c *conn) compile(query string) (*statement, error) {
	text, err := libc.CString(query)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(c.tls, text)
	s := &statement{conn: c, query: query, kept: kept(query)}
	flags := uint32(0)
	if s.kept {
		flags = sqlite3.SQLITE_PREPARE_PERSISTENT
	}
	if code := sqlite3.Xsqlite3_prepare_v3(c.tls, c.db, text, -1, flags, c.out, c.out+pointerSize); code != sqlite3.SQLITE_OK {
		return nil, c.fail(code)
	}
	s.handle = pointerAt(c.out)
	if rest := query[pointerAt(c.out+pointerSize)-text:]; s.handle == 0 || strings.TrimSpace(rest) != "" {
		s.close()
		return nil, fmt.Errorf("sqlite: not one statement: %q", query)
	}
	// SQLite numbers $3 by where it comes, and not as its third.
	for i := range sqlite3.Xsqlite3_bind_parameter_count(c.tls, s.handle) {
		name := libc.GoString(sqlite3.Xsqlite3_bind_parameter_name(c.tls, s.handle, i+1))
		number, ok := strings.CutPrefix(name, "$")
		n, err := strconv.Atoi(number)
		if !ok || err != nil || n < 1 || slices.Contains(s.parameters, n-1) {
			s.close()
			return nil, fmt.Errorf("sqlite: a parameter %q", name)
		}
		s.parameters = append(s.parameters, n-1)
		s.arguments = max(s.arguments, n)
	}
	return s, nil
}

// step says whether there is a row.
func (s *statement) step() (bool, error) {
	switch code := sqlite3.Xsqlite3_step(s.conn.tls, s.handle); code {
	case sqlite3.SQLITE_ROW:
		return true, nil
	case sqlite3.SQLITE_DONE:
		return false, nil
	default:
		return false, s.conn.fail(code)
	}
}

// end stops the statement, and keeps it for the next time unless it failed. The error
// is what it failed with.
func (s *statement) end(err error) error {
	c := s.conn
	c.running--
	if code := sqlite3.Xsqlite3_reset(c.tls, s.handle); code != sqlite3.SQLITE_OK && err == nil {
		err = c.fail(code)
	}
	if err != nil || !s.kept {
		s.close()
		return err
	}
	if s.size > mostMemory {
		sqlite3.Xsqlite3_clear_bindings(c.tls, s.handle)
		s.release()
	}
	if _, known := c.free[s.query]; !known && len(c.free) >= maxStatements {
		c.drop()
	}
	c.free[s.query] = append(c.free[s.query], s)
	return nil
}

func (s *statement) close() {
	sqlite3.Xsqlite3_finalize(s.conn.tls, s.handle) // its error is that of the last step
	s.release()
}

func (s *statement) release() {
	libc.Xfree(s.conn.tls, s.memory)
	s.memory, s.size = 0, 0
}

// drop forgets all statements that are not running.
func (c *conn) drop() {
	for _, all := range c.free {
		for _, s := range all {
			s.close()
		}
	}
	clear(c.free)
}

// exec runs a statement to its end, and returns how many rows it changed, if it
// changes any.
func (c *conn) exec(query string, args []any) (int64, error) {
	s, err := c.take(query)
	if err != nil {
		return 0, err
	}
	err = s.bind(args)
	for more := true; more && err == nil; {
		more, err = s.step()
	}
	changed := sqlite3.Xsqlite3_changes64(c.tls, c.db)
	if err := s.end(err); err != nil {
		return 0, err
	}
	return changed, nil
}

// also adds an error, if there is another one.
func also(err, other error) error {
	if other == nil {
		return err
	}
	return errors.Join(err, other)
}
