package main

import (
	"crypto/rand"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// loggedRequest is one row of a server's activity log, without its place in the
// chain.
type loggedRequest struct {
	time    time.Time
	request []byte
	answer  [32]byte
}

// rewritings are what a dishonest server does to the activity log of its only
// account. Each chains the rows anew, so that the log by itself is flawless.
var rewritings = map[string]func([]loggedRequest) ([]loggedRequest, error){
	"changed": func(rows []loggedRequest) ([]loggedRequest, error) {
		rows[0].answer[0]++
		return rows, nil
	},
	"shortened": func(rows []loggedRequest) ([]loggedRequest, error) { return rows[:len(rows)-1], nil },
	"reordered": func(rows []loggedRequest) ([]loggedRequest, error) {
		last, other := &rows[len(rows)-1], &rows[len(rows)-2]
		last.request, other.request = other.request, last.request
		last.answer, other.answer = other.answer, last.answer
		return rows, nil
	},
	// The account's device is said to have asked, and never has.
	"invented": func(rows []loggedRequest) ([]loggedRequest, error) {
		key, err := signing.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		return forge(rows, func(r *apiv1.SignedRequest) error {
			h := &apiv1.RequestHeader{}
			if err := canonical.Unmarshal(r.Header, h); err != nil {
				return err
			}
			account, server := ledger.AccountID(h.Account), mustKey(h.Server)
			asked := &apiv1.RevealRequest{}
			if err := canonical.Unmarshal(r.Body, asked); err != nil {
				return err
			}
			made, _, err := api.NewRequest(apiv1connect.ServerServiceRevealProcedure, server,
				api.Identity{Account: &account, Device: h.Device, Key: key}, asked, time.Now(), rand.Reader)
			if err != nil {
				return err
			}
			api.Confirm(made, apiv1.Confirmation_KEY_CONFIRM, h.Device, key)
			r.Header, r.Signature, r.Confirmations = made.Header, made.Signature, made.Confirmations
			return nil
		})
	},
	// What nobody signed at all.
	"unsigned": func(rows []loggedRequest) ([]loggedRequest, error) {
		return forge(rows, func(r *apiv1.SignedRequest) error { r.Signature = make([]byte, len(r.Signature)); return nil })
	},
	// The device has asked; who is said to have confirmed it has not.
	"unconfirmed": func(rows []loggedRequest) ([]loggedRequest, error) {
		return forge(rows, func(r *apiv1.SignedRequest) error {
			key, err := signing.GenerateKey(rand.Reader)
			if err != nil {
				return err
			}
			r.Confirmations = nil
			api.Confirm(r, apiv1.Confirmation_KEY_CONFIRM, 1, key)
			return nil
		})
	},
}

func mustKey(b []byte) *signing.PublicKey {
	key, err := signing.NewPublicKey(b)
	if err != nil {
		panic(err)
	}
	return key
}

// forge adds a row that is like the last reveal in the log, and changed.
func forge(rows []loggedRequest, change func(*apiv1.SignedRequest) error) ([]loggedRequest, error) {
	for i := len(rows) - 1; i >= 0; i-- {
		r, h := &apiv1.SignedRequest{}, &apiv1.RequestHeader{}
		if err := canonical.Unmarshal(rows[i].request, r); err != nil {
			return nil, err
		}
		if err := canonical.Unmarshal(r.Header, h); err != nil {
			return nil, err
		}
		if h.Procedure != apiv1connect.ServerServiceRevealProcedure {
			continue
		}
		if err := change(r); err != nil {
			return nil, err
		}
		b, err := canonical.Marshal(r)
		return append(rows, loggedRequest{rows[len(rows)-1].time, b, rows[i].answer}), err
	}
	return nil, fmt.Errorf("no reveal is in the log")
}

// relog DIR HOW changes the activity log in the data of a server that is stopped.
func cmdRelog(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || rewritings[args[1]] == nil {
		ts.Fatalf("usage: relog DIR HOW")
	}
	ts.Check(relog(filepath.Join(ts.MkAbs(args[0]), "zeropass.db"), rewritings[args[1]]))
}

func relog(database string, rewrite func([]loggedRequest) ([]loggedRequest, error)) (err error) {
	if _, err := os.Stat(database); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", database)
	if err != nil {
		return err
	}
	defer func() {
		if closing := db.Close(); err == nil {
			err = closing
		}
	}()
	account, rows, err := readLog(db)
	if err != nil {
		return err
	}
	if rows, err = rewrite(rows); err != nil {
		return err
	}
	if _, err := db.Exec(`DELETE FROM activities`); err != nil {
		return err
	}
	var last *ledger.Activity
	for _, r := range rows {
		if last, err = ledger.NewActivity(account, last.End(), r.time, r.request, r.answer); err != nil {
			return err
		}
		if _, err := db.Exec(`INSERT INTO activities (account, sequence, activity) VALUES ($1, $2, $3)`, account[:], last.Sequence(), last.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func readLog(db *sql.DB) (account ledger.AccountID, log []loggedRequest, err error) {
	rows, err := db.Query(`SELECT activity FROM activities ORDER BY account, sequence`)
	if err != nil {
		return account, nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err says what went wrong
	for rows.Next() {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			return account, nil, err
		}
		a, err := ledger.ParseActivity(b)
		if err != nil {
			return account, nil, err
		}
		account = a.Account()
		log = append(log, loggedRequest{a.Time(), a.Request(), a.AnswerHash()})
	}
	return account, log, rows.Err()
}
