package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
)

func contactListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List your contacts, and whose contact you are",
		Args:  takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(d *device.Device) error {
				list, err := d.Contacts(cmd.Context())
				if err != nil {
					return err
				}
				return a.show(contactsJSON(list), func() { a.showContacts(list) })
			})
		}),
	}
}

type contactView struct {
	Name       string     `json:"name"`
	Unreadable string     `json:"name_unreadable,omitempty"`
	Paper      bool       `json:"paper,omitempty"`
	Account    string     `json:"account,omitempty"`
	Epoch      uint64     `json:"epoch"`
	Member     uint64     `json:"member"`
	CountsFrom *time.Time `json:"counts_from,omitempty"`
	Receipt    bool       `json:"share_proved"`
	Proved     *time.Time `json:"last_proved,omitempty"`
}

type invitationView struct {
	Label    string    `json:"label"`
	Made     time.Time `json:"made"`
	Expiry   time.Time `json:"expires"`
	Answered bool      `json:"answered"`
	Name     string    `json:"account_name,omitempty"`
	Account  string    `json:"account,omitempty"`
}

type ownerView struct {
	Name    string     `json:"name"`
	Account string     `json:"account"`
	Epochs  []uint64   `json:"epochs"`
	Proved  *time.Time `json:"last_proved,omitempty"`
}

type contactsView struct {
	Epoch       uint64           `json:"epoch"`
	Prepared    uint64           `json:"prepared_epoch,omitempty"`
	Quorum      int              `json:"quorum"`
	Members     int              `json:"contacts_wanted"`
	Free        int              `json:"shares_free"`
	Contacts    []contactView    `json:"contacts"`
	Invitations []invitationView `json:"invitations"`
	Owners      []ownerView      `json:"you_help"`
}

func contactsJSON(list *device.ContactList) contactsView {
	v := contactsView{
		Epoch: list.Epoch, Prepared: list.Prepared, Quorum: list.Quorum, Members: list.Members, Free: list.Free,
		Contacts: []contactView{}, Invitations: []invitationView{}, Owners: []ownerView{},
	}
	for _, c := range list.Contacts {
		v.Contacts = append(v.Contacts, contactView{
			c.Name, c.Unreadable, c.Paper, accountText(c.Account), c.Epoch, c.Member, jsonTime(c.CountsFrom), c.Receipt, jsonTime(c.ProvedAt),
		})
	}
	for _, i := range list.Invitations {
		v.Invitations = append(v.Invitations, invitationView{i.Label, i.Made.UTC(), i.Expiry.UTC(), i.Answered, i.Name, accountText(i.Account)})
	}
	for _, o := range list.Owners {
		v.Owners = append(v.Owners, ownerView{o.Name, o.Account.String(), append([]uint64{}, o.Epochs...), jsonTime(o.ProvedAt)})
	}
	return v
}

// accountText is an account's id, empty for none.
func accountText(id ledger.AccountID) string {
	if id == (ledger.AccountID{}) {
		return ""
	}
	return id.String()
}

func (a *app) showContacts(list *device.ContactList) {
	now := time.Now()
	a.say("%d of %s bring everything back.", list.Quorum, count(list.Members, "contact"))
	if len(list.Contacts) > 0 {
		rows := [][]string{{"CONTACT", "SHARE", "STATE"}}
		for _, c := range list.Contacts {
			share := fmt.Sprint(c.Member)
			if list.Prepared != 0 {
				share = fmt.Sprintf("%d, epoch %d", c.Member, c.Epoch)
			}
			rows = append(rows, []string{oneLine(c.Name), share, contactState(now, c)})
		}
		a.say("")
		table(a.out, a.width(), rows)
		for _, c := range list.Contacts {
			if c.Unreadable != "" {
				a.say("%s: %s.", oneLine(c.Name), c.Unreadable)
			}
		}
	}
	var todo []string
	if len(list.Invitations) > 0 {
		rows := [][]string{{"INVITED", "MADE", "STATE"}}
		for _, i := range list.Invitations {
			state := "no answer yet"
			if !now.Before(i.Expiry) {
				state = "expired"
			}
			if i.Answered {
				state = "answered, to be confirmed"
				todo = append(todo, "call "+oneLine(i.Label)+" and run: zeropass contact confirm "+shellQuote(i.Label))
			}
			rows = append(rows, []string{oneLine(i.Label), ago(now, i.Made), state})
		}
		a.say("")
		table(a.out, a.width(), rows)
	}
	if len(list.Owners) > 0 {
		a.say("")
		a.say("You are a contact of:")
		rows := [][]string{}
		for _, o := range list.Owners {
			state := "no share has come yet"
			if len(o.Epochs) > 0 {
				state = "share kept here; last sign of the owner " + ago(now, o.ProvedAt)
			}
			rows = append(rows, []string{"  " + oneLine(o.Name), state})
		}
		table(a.out, a.width(), rows)
	}
	if left := list.Free - len(list.Invitations); left > 0 {
		todo = append(todo, fmt.Sprintf("%s left to give: zeropass contact invite NAME", count(left, "share")))
	}
	a.next(todo...)
}

func contactState(now time.Time, c device.Contact) string {
	switch {
	case c.Receipt && c.CountsFrom.After(now):
		return "share proved " + ago(now, c.ProvedAt) + "; counts from " + when(c.CountsFrom)
	case c.Receipt:
		return "share proved " + ago(now, c.ProvedAt)
	case c.Paper:
		return "words not typed back yet: zeropass contact paper confirm"
	case c.SentAt.IsZero():
		return "share not sent yet: zeropass sync sends it"
	}
	return "share sent " + ago(now, c.SentAt) + ", not proved yet"
}
