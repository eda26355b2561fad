package sheet

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode"

	"codeberg.org/go-pdf/fpdf"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/gomonobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/sfnt"
	"rsc.io/qr"
)

// The page, in millimetres: A4 with a margin that every printer keeps.
const (
	pageWidth  = 210.0
	pageHeight = 297.0
	margin     = 15.0
	inner      = pageWidth - 2*margin
	codeSize   = 58.0 // of the QR code, quiet zone included
	columns    = 4    // of words
)

// Fonts. The Go fonts have Latin, Greek and Cyrillic letters.
const (
	regular = "Go"
	mono    = "Go Mono"
)

// page draws on the one page, from top to bottom.
type page struct {
	pdf     *fpdf.Fpdf
	letters *sfnt.Font // that the regular font has
	y       float64
}

// PDF returns the page as a PDF file of one page in A4, with fonts embedded and
// nothing in its metadata but the day. The caller clears it.
func (s *Sheet) PDF() ([]byte, error) {
	code, err := qr.Encode(s.QR, qr.M)
	if err != nil {
		return nil, fmt.Errorf("sheet: QR code: %w", err)
	}
	letters, err := sfnt.Parse(goregular.TTF)
	if err != nil {
		return nil, fmt.Errorf("sheet: font: %w", err)
	}
	p := &page{pdf: newPDF(s.Printed), letters: letters, y: margin}
	p.heading(s)
	p.warning(s.alone())
	p.facts(s.facts())
	p.words(strings.Fields(s.Words))
	p.foot(code, s)
	if p.y > pageHeight-margin {
		return nil, fmt.Errorf("sheet: the page is %.0f mm too long", p.y-pageHeight+margin)
	}
	var file bytes.Buffer
	if err := p.pdf.Output(&file); err != nil {
		return nil, fmt.Errorf("sheet: %w", err)
	}
	return file.Bytes(), nil
}

func newPDF(printed time.Time) *fpdf.Fpdf {
	pdf := fpdf.New("P", "mm", "A4", "")
	// The day, not the second; and who wrote the file, not where.
	day := printed.UTC().Truncate(24 * time.Hour)
	pdf.SetCreationDate(day)
	pdf.SetModificationDate(day)
	pdf.SetProducer("ZeroPass", true)
	pdf.SetCatalogSort(true)
	pdf.SetMargins(margin, margin, margin)
	pdf.SetAutoPageBreak(false, 0)
	pdf.AddUTF8FontFromBytes(regular, "", goregular.TTF)
	pdf.AddUTF8FontFromBytes(regular, "B", gobold.TTF)
	pdf.AddUTF8FontFromBytes(mono, "B", gomonobold.TTF)
	pdf.AddPage()
	return pdf
}

// line writes one line at x, as small as it must be to fit into width.
func (p *page) line(x, width float64, style string, size float64, text string) {
	text = p.drawable(text)
	p.pdf.SetFont(regular, style, size)
	if w := p.pdf.GetStringWidth(text); w > width {
		p.pdf.SetFontSize(size * width / w * 0.999)
	}
	p.pdf.Text(x, p.y, text)
}

// paragraph writes text in lines that are width wide.
func (p *page) paragraph(x, width float64, style string, size, leading float64, text string) {
	for _, line := range p.broken(width, style, size, text) {
		p.y += leading
		p.line(x, width, style, size, line)
	}
}

// broken breaks text at spaces. A word that is wider than a line is broken where
// it must be.
func (p *page) broken(width float64, style string, size float64, text string) []string {
	p.pdf.SetFont(regular, style, size)
	fits := func(s string) bool { return p.pdf.GetStringWidth(s) <= width }
	var lines []string
	line := ""
	for _, word := range strings.Fields(p.drawable(text)) {
		if line != "" && !fits(line+" "+word) {
			lines, line = append(lines, line), ""
		}
		for !fits(word) {
			runes := []rune(word)
			n := len(runes)
			for n > 1 && !fits(string(runes[:n])) {
				n--
			}
			lines, word = append(lines, string(runes[:n])), string(runes[n:])
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func (p *page) heading(s *Sheet) {
	p.y += 6
	p.line(margin, 40, "B", 13, "ZeroPass")
	p.pdf.SetFont(regular, "B", 20)
	p.line(margin+38, 80, "B", 20, s.title())
	p.line(margin+122, inner-122, "", 13, s.Name)
	p.y += 6
	p.line(margin, inner, "", 9, purpose)
	p.y += 3.5
}

// warning is a box that nobody overlooks, before everything else.
func (p *page) warning(paragraphs []string) {
	const size, leading, padding = 9.5, 4.3, 3.0
	lines := 0
	for i, text := range paragraphs {
		lines += len(p.broken(inner-2*padding, bold(i == 0), size, text))
	}
	height := float64(lines)*leading + 2*padding
	p.pdf.SetLineWidth(0.7)
	p.pdf.Rect(margin, p.y, inner, height, "D")
	top := p.y
	p.y += padding - 0.9
	for i, text := range paragraphs {
		p.paragraph(margin+padding, inner-2*padding, bold(i == 0), size, leading, text)
	}
	p.y = top + height + 2
}

func bold(yes bool) string {
	if yes {
		return "B"
	}
	return ""
}

func (p *page) facts(facts []fact) {
	const label = 30.0
	for _, f := range facts {
		p.y += 4.4
		p.line(margin, label-2, "B", 9, f.name)
		p.line(margin+label, inner-label, "", 9, f.value)
	}
	p.y += 3
}

// words prints the words down the columns, the approval key's on a grey ground.
func (p *page) words(words []string) {
	rows := (len(words) + columns - 1) / columns
	size, leading := 13.0, 6.3
	if len(words) > shareWords {
		size, leading = 12.0, 4.75
	}
	const width = inner / columns
	top := p.y
	for i, word := range words {
		x, y := margin+float64(i/rows)*width, top+float64(i%rows)*leading
		if i >= shareWords {
			p.pdf.SetFillColor(226, 226, 226)
			p.pdf.Rect(x, y, width-1.5, leading, "F")
		}
		baseline := y + leading*0.76
		p.pdf.SetFont(regular, "", 8.5)
		number := fmt.Sprint(i + 1)
		p.pdf.Text(x+7-p.pdf.GetStringWidth(number), baseline, number)
		p.pdf.SetFont(mono, "B", size)
		p.pdf.Text(x+9, baseline, word)
	}
	p.y = top + float64(rows)*leading + 1
	if len(words) > shareWords {
		p.y += 3.2
		p.line(margin, inner, "", 8.5, fmt.Sprintf("Words 1 to %d are the share. Words %d to %d, on grey, are the approval key.", shareWords, shareWords+1, len(words)))
	}
	p.y += 3
}

// foot has the QR code on the left and the ways back beside it.
func (p *page) foot(code *qr.Code, s *Sheet) {
	const gap = 4.0
	top := p.y
	p.code(code, margin, top)
	x, width := margin+codeSize+gap, inner-codeSize-gap
	for i, way := range s.waysBack() {
		if i > 0 {
			p.y += 2.5
		}
		p.y += 4.5
		p.line(x, width, "B", 10, way.title)
		for j, step := range way.lines {
			before := p.y
			p.paragraph(x+5, width-5, "", 9, 4.2, step)
			after := p.y
			p.y = before + 4.2
			p.line(x, 5, "", 9, fmt.Sprintf("%d.", j+1))
			p.y = after
		}
	}
	p.y = max(p.y, top+codeSize)
}

// code draws a QR code with the quiet zone of four modules that ISO/IEC 18004,
// section 5.3.8, asks for. Its dark runs are single rectangles, so that no
// printer leaves light seams between modules.
func (p *page) code(code *qr.Code, x, y float64) {
	const quiet = 4
	module := codeSize / float64(code.Size+2*quiet)
	p.pdf.SetFillColor(0, 0, 0)
	for row := range code.Size {
		for from := 0; from < code.Size; from++ {
			to := from
			for to < code.Size && code.Black(to, row) {
				to++
			}
			if to > from {
				p.pdf.Rect(x+float64(from+quiet)*module, y+float64(row+quiet)*module, float64(to-from)*module, module, "F")
				from = to
			}
		}
	}
}

// drawable replaces what the font has no letter for. The account's id says whose
// page it is even then.
func (p *page) drawable(text string) string {
	var buffer sfnt.Buffer
	return strings.Map(func(r rune) rune {
		if r == ' ' {
			return r
		}
		if index, err := p.letters.GlyphIndex(&buffer, r); r > 0xffff || err != nil || index == 0 {
			return '?'
		}
		return r
	}, printable(text))
}

// printable takes out control characters and marks that are not seen.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp):
			return '?'
		}
		return r
	}, text)
}
