"""Dresses sample pages in the templates of their sites, and makes up the pages that are nothing but furniture."""

import calendar
import html
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LAYOUTS = {
    "html5": """<!DOCTYPE html>
<html lang="{lang}">
<head>
{charset}<title>{title} | {name}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
{meta}<link rel="stylesheet" href="/static/main.css">
<script>{script}</script>
</head>
<body class="single">
{cookie}<header class="site-header"><a class="logo" href="/">{name}</a>
<nav class="main-nav"><ul>{nav}</ul></nav></header>
{crumbs}<main>
<article class="{box}">
<h1>{title}</h1>
{byline}{share}{body}
{share}</article>
{comments}</main>
<aside class="sidebar">{related}{letter}</aside>
<footer class="site-footer">{footer}</footer>
</body>
</html>
""",
    "xhtml": """<?xml version="1.0"{encoding}?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="{lang}" lang="{lang}">
<head>
{charset}<title>{name} &#187; {title}</title>
{meta}<style type="text/css">/*<![CDATA[*/ #wrap {{ width: 960px; margin: 0 auto; }} /*]]>*/</style>
</head>
<body>
<div id="wrap">
<div id="header"><p class="logo"><a href="/">{name}</a></p></div>
<div id="menu"><ul>{nav}</ul></div>
{crumbs}<div id="right">{related}{letter}</div>
<div id="content"><div class="{box}">
<h2 class="title">{title}</h2>
{byline}{body}
{share}</div>
{comments}</div>
<div id="footer">{footer}</div>
{cookie}<script type="text/javascript">//<![CDATA[
{script}
//]]></script>
</div>
</body>
</html>
""",
    "table": """<HTML>
<HEAD>
{charset}<TITLE>{title}</TITLE>
{meta}</HEAD>
<BODY BGCOLOR="#FFFFFF" TEXT="#000000" LINK="#0000CC">
<TABLE WIDTH="100%" BORDER="0" CELLPADDING="4">
<TR><TD COLSPAN="3" BGCOLOR="#003366"><FONT COLOR="#FFFFFF" SIZE="5"><B>{name}</B></FONT></TD></TR>
<TR><TD WIDTH="150" VALIGN="top" BGCOLOR="#EEEEEE"><FONT SIZE="2"><UL>{nav}</UL></FONT></TD>
<TD VALIGN="top">{crumbs}<H1>{title}</H1>
{byline}{body}
{share}{comments}</TD>
<TD WIDTH="180" VALIGN="top">{related}{letter}</TD></TR>
<TR><TD COLSPAN="3" ALIGN="center"><FONT SIZE="1">{footer}</FONT></TD></TR>
</TABLE>
</BODY>
</HTML>
""",
}
BOXES = ("entry-content", "post", "c-4f1b", "article-body", "node")
PATHS = ("/{slug}.html", "/{year}/{month}/{slug}/", "/index.php?p={number}&slug={slug}", "/read/{slug}")
SCRIPT = 'window.data=window.data||[];function track(n){data.push({"event":n,"page":"%s"});}track("view");'
READERS = ("Minna", "T. Oduya", "gravel_path", "Anselm", "reader1987", "Ilse K.", "Pavel", "noor")

FIELDS = (
    "home",
    "news",
    "guides",
    "archive",
    "about",
    "contact",
    "search",
    "login",
    "related",
    "more",
    "privacy",
    "comments",
    "reply",
    "share",
    "letter",
    "cookies",
    "rights",
)
WORDS = {
    "en": "Home|News|Guides|Archive|About us|Contact|Search|Log in|You may also like|Read more|Privacy policy|"
    "Comments|Reply|Share this page|Get our letter in your inbox every Friday.|We use cookies to improve your "
    "experience. By continuing to browse you agree to our use of cookies.|All rights reserved.",
    "de": "Startseite|Aktuelles|Ratgeber|Archiv|Über uns|Kontakt|Suche|Anmelden|Das könnte Sie auch "
    "interessieren|Weiterlesen|Datenschutz|Kommentare|Antworten|Seite teilen|Jeden Freitag unser Rundbrief in "
    "Ihrem Postfach.|Wir verwenden Cookies, um unsere Seite zu verbessern. Mit dem Weiterlesen stimmen Sie dem "
    "zu.|Alle Rechte vorbehalten.",
    "fr": "Accueil|Actualités|Guides|Archives|À propos|Contact|Recherche|Connexion|À lire aussi|Lire la suite|"
    "Confidentialité|Commentaires|Répondre|Partager cette page|Recevez notre lettre chaque vendredi.|Nous "
    "utilisons des cookies pour améliorer votre visite. En poursuivant, vous acceptez leur usage.|Tous droits "
    "réservés.",
    "es": "Inicio|Noticias|Guías|Archivo|Quiénes somos|Contacto|Buscar|Entrar|También te puede interesar|Leer "
    "más|Privacidad|Comentarios|Responder|Compartir esta página|Recibe nuestra carta cada viernes.|Usamos "
    "cookies para mejorar tu visita. Si sigues navegando, aceptas su uso.|Todos los derechos reservados.",
    "it": "Home|Notizie|Guide|Archivio|Chi siamo|Contatti|Cerca|Accedi|Potrebbe interessarti|Leggi tutto|Privacy|"
    "Commenti|Rispondi|Condividi questa pagina|Ricevi la nostra lettera ogni venerdì.|Usiamo i cookie per "
    "migliorare la visita. Continuando ne accetti l’uso.|Tutti i diritti riservati.",
    "pl": "Strona główna|Aktualności|Poradniki|Archiwum|O nas|Kontakt|Szukaj|Zaloguj się|Zobacz też|Czytaj dalej|"
    "Prywatność|Komentarze|Odpowiedz|Udostępnij stronę|Nasz list w każdy piątek w Twojej skrzynce.|Używamy "
    "plików cookie, aby ulepszać stronę. Przeglądając ją dalej, zgadzasz się na to.|Wszelkie prawa zastrzeżone.",
    "ru": "Главная|Новости|Советы|Архив|О нас|Контакты|Поиск|Войти|Читайте также|Читать далее|Конфиденциальность|"
    "Комментарии|Ответить|Поделиться|Наше письмо каждую пятницу в вашем ящике.|Мы используем файлы cookie, чтобы "
    "сайт работал лучше. Оставаясь на сайте, вы соглашаетесь с этим.|Все права защищены.",
    "zh": "首页|新闻|指南|归档|关于我们|联系我们|搜索|登录|相关阅读|阅读全文|隐私政策|评论|回复|分享本页|"
    "每周五收到我们的来信。|本站使用 Cookie 改善浏览体验，继续浏览即表示同意。|版权所有。",
    "ja": "ホーム|ニュース|ガイド|アーカイブ|このサイトについて|お問い合わせ|検索|ログイン|関連記事|続きを読む|"
    "プライバシー|コメント|返信|このページを共有|毎週金曜日にお便りをお届けします。|"
    "当サイトはクッキーを使用しています。閲覧を続けると同意したものとみなします。|無断転載を禁じます。",
    "ar": "الرئيسية|الأخبار|إرشادات|الأرشيف|من نحن|اتصل بنا|بحث|دخول|اقرأ أيضا|المزيد|الخصوصية|التعليقات|رد|شارك "
    "الصفحة|رسالتنا في بريدك كل يوم جمعة.|نستخدم ملفات تعريف الارتباط لتحسين الموقع. بمتابعة التصفح فإنك توافق "
    "على ذلك.|جميع الحقوق محفوظة.",
    "sw": "Mwanzo|Habari|Mwongozo|Kumbukumbu|Kutuhusu|Wasiliana nasi|Tafuta|Ingia|Soma pia|Soma zaidi|Faragha|"
    "Maoni|Jibu|Shiriki ukurasa huu|Pokea barua yetu kila Ijumaa.|Tunatumia vidakuzi ili kuboresha tovuti. "
    "Ukiendelea kusoma unakubali.|Haki zote zimehifadhiwa.",
}
REMARKS = {
    "en": "Thank you, I had been wondering about this for years.|Does anyone know if this works in winter too?|"
    "Great post!!|I tried it last weekend and it went better than I expected.|First!",
    "de": "Danke, das habe ich mich schon lange gefragt.|Klappt das auch im Winter?|Sehr schöner Beitrag!",
    "fr": "Merci, je me posais la question depuis longtemps.|Est-ce que cela marche aussi en hiver ?|Très bel article !",
    "es": "Gracias, llevaba años preguntándomelo.|¿Funciona también en invierno?|¡Qué buen artículo!",
    "it": "Grazie, me lo chiedevo da anni.|Funziona anche d’inverno?|Bellissimo articolo!",
    "pl": "Dziękuję, od dawna się nad tym zastanawiałem.|Czy to działa także zimą?|Świetny wpis!",
    "ru": "Спасибо, давно хотел это узнать.|А зимой так тоже можно?|Отличная статья!",
    "zh": "谢谢，这个问题我想了很久。|冬天也可以这样做吗？|写得真好！",
    "ja": "ありがとうございます。ずっと気になっていました。|冬でも同じようにできますか。|とても良い記事ですね。",
    "ar": "شكرا، كنت أتساءل عن هذا منذ سنوات.|هل ينجح هذا في الشتاء أيضا؟|مقال رائع!",
    "sw": "Asante, nimejiuliza hili kwa miaka mingi.|Makala nzuri sana!|Je, inafaa pia wakati wa mvua?",
}

ADJECTIVES = (
    "amber",
    "broad",
    "calm",
    "dusty",
    "early",
    "faded",
    "gentle",
    "hollow",
    "iron",
    "late",
    "mossy",
    "narrow",
    "oaken",
    "pale",
    "quiet",
    "round",
)
NOUNS = (
    "anchor",
    "barrel",
    "candle",
    "drawer",
    "engine",
    "ferry",
    "gate",
    "harbour",
    "jacket",
    "kettle",
    "ladder",
    "mitten",
    "needle",
    "orchard",
    "parcel",
)
VERBS = ("follows", "carries", "mends", "borrows", "paints", "counts", "forgets", "opens", "weighs", "sorts", "passes")
PATTERNS = (
    "The {a} {n} {v} the {m}.",
    "In most years the {n} {v} one {b} {m} before noon.",
    "Nobody {v} a {n} twice, as the {a} {m} shows.",
    "Once a week the {a} {n} {v} every {m} near the {b} gate.",
)


@dataclass(frozen=True)
class Page:
    """One page before its template: what the front matter says, and the fragment of content."""

    host: str
    slug: str
    kind: str
    lang: str
    title: str
    date: str
    author: str
    body: str
    path: str = ""
    paired: bool = False

    @property
    def url(self) -> str:
        """The address the page is served from; the form of the path depends on the site."""
        rng = random.Random("address " + self.host)
        year, month, _ = self.date.split("-")
        number = random.Random(self.slug).randrange(100, 9000)
        path = self.path or rng.choice(PATHS).format(slug=self.slug, year=year, month=month, number=number)
        return f"{rng.choice(('https', 'https', 'http'))}://{self.host}{path}"


def link(href: str, text: str) -> str:
    return f'<a href="{html.escape(href)}">{html.escape(text)}</a>'


def items(links: Sequence[str]) -> str:
    return "\n".join(f"<li>{one}</li>" for one in links)


def plain(fragment: str) -> str:
    """The fragment's text, its blocks set apart by empty lines."""
    text = html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"</(p|h\d|li|tr|td|th|div|pre)>", "\n", fragment)))
    return "\n\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


def teaser(page: Page, size: int = 140) -> str:
    text = " ".join(plain(page.body).split())
    return text[:size].rstrip() + ("…" if len(text) > size else "")


def site_name(host: str) -> str:
    return host.removesuffix(".example").split(".")[-1].replace("-", " ").title()


def words_of(lang: str) -> dict[str, str]:
    return dict(zip(FIELDS, WORDS[lang if lang in WORDS else "en"].split("|"), strict=True))


def metadata(page: Page, rng: random.Random) -> str:
    """Open Graph, JSON-LD, both or nothing, by site; the date in more than one way, as sites do."""
    style = rng.choice(("og", "jsonld", "both", "none"))
    lines = []
    if style in ("og", "both"):
        lines += [
            f'<meta property="og:title" content="{html.escape(page.title)}" />',
            '<meta property="og:type" content="article" />',
            f'<meta property="article:published_time" content="{page.date}T08:00:00Z" />',
            f'<meta name="author" content="{html.escape(page.author)}" />',
        ]
    if style in ("jsonld", "both"):
        data = {
            "@context": "https://schema.org",
            "@type": "Article",
            "headline": page.title,
            "datePublished": page.date,
            "author": {"@type": "Person", "name": page.author},
        }
        text = json.dumps(data, ensure_ascii=False).replace("</", "<\\/")
        lines.append(f'<script type="application/ld+json">{text}</script>')
    return "".join(line + "\n" for line in lines)


def comments(page: Page, words: dict[str, str], rng: random.Random) -> str:
    remarks = REMARKS.get(page.lang, REMARKS["en"]).split("|")
    chosen = rng.sample(remarks, min(len(remarks), rng.randrange(5)))
    rows = "".join(
        f'<div class="comment"><p><b>{rng.choice(READERS)}</b> <a href="#c{n}">{page.date}</a></p>'
        f'<p>{text}</p><a rel="nofollow" href="#r{n}">{words["reply"]}</a></div>\n'
        for n, text in enumerate(chosen)
    )
    return f'<div id="comments"><h3>{words["comments"]} ({len(chosen)})</h3>\n{rows}</div>\n'


def document(page: Page, siblings: Sequence[Page], charset: str | None = "utf-8") -> str:
    """The whole HTML of a page; `charset` is what its meta element declares, None for no declaration."""
    site, own = random.Random(page.host), random.Random(page.url)
    layout = site.choice(tuple(LAYOUTS))
    words = words_of(page.lang)
    sections = [link(f"/{key}/", words[key]) for key in ("home", "news", "guides", "archive", "about", "contact")]
    related = [link(p.url, p.title) for p in own.sample(siblings, min(5, len(siblings)))]
    megamenu = [link(p.url, p.title) for p in siblings[:8]] if site.random() < 0.5 else []
    shares = " ".join(link(f"https://share.example/{to}?u={page.url}", to) for to in ("Chirper", "Facepage", "Mail"))
    optional = {
        "cookie": f'<div id="cookie-notice"><p>{words["cookies"]}</p><button>OK</button></div>\n',
        "crumbs": f'<div class="breadcrumb">{sections[0]} &gt; {sections[2]} &gt; {html.escape(page.title)}</div>\n',
        "share": f'<div class="share-buttons">{words["share"]}: {shares}</div>\n',
        "letter": f'<div class="newsletter"><p>{words["letter"]}</p><form><input name="mail" /></form></div>\n',
        "byline": f'<p class="byline">{html.escape(page.author)}, <span class="date">{page.date}</span></p>\n',
        "comments": comments(page, words, own) if page.kind in ("article", "news", "recipe") else "",
    }
    parts = {name: text if site.random() < 0.7 else "" for name, text in optional.items()}
    declared = {"html5": '<meta charset="{}">\n'}.get(
        layout, '<meta http-equiv="Content-Type" content="text/html; charset={}" />\n'
    )
    parts |= {
        "meta": metadata(page, site),
        "charset": declared.format(charset) if charset else "",
        "nav": items([*sections, link("/search", words["search"]), link("/login", words["login"]), *megamenu]),
        "related": f'<h3>{words["related"]}</h3>\n<ul class="related">{items(related)}</ul>\n' if related else "",
        "footer": f"<p>{' | '.join(sections)} | {link('/privacy', words['privacy'])}</p>"
        f"<p>&#169; {page.date[:4]} {site_name(page.host)}. {words['rights']}</p>",
        "script": SCRIPT % page.slug,
    }
    if layout != "xhtml":
        parts = {name: text.replace(" />", ">") for name, text in parts.items()}
    return LAYOUTS[layout].format(
        lang=page.lang,
        title=html.escape(page.title, quote=False),
        name=site_name(page.host),
        body=page.body,
        box=site.choice(BOXES),
        encoding=f' encoding="{charset}"' if charset else "",
        **parts,
    )


def printable(page: Page) -> str:
    """The printer-friendly form: the content without a template."""
    return (
        f'<html><head><meta charset="utf-8"><title>{html.escape(page.title)}</title></head>'
        f'<body onload="window.print()">\n<h1>{html.escape(page.title)}</h1>\n<p>{html.escape(page.author)}, '
        f"{page.date}</p>\n{page.body}\n<hr><p>{html.escape(page.url)}</p>\n</body></html>\n"
    )


# Pages made up from the word lists.


def phrase(rng: random.Random) -> str:
    return f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}"


def paragraph(rng: random.Random, sentences: int = 5) -> str:
    def one() -> str:
        return rng.choice(PATTERNS).format(
            a=rng.choice(ADJECTIVES), b=rng.choice(ADJECTIVES), n=rng.choice(NOUNS), m=rng.choice(NOUNS), v=rng.choice(VERBS)
        )

    return f"<p>{' '.join(one() for _ in range(sentences))}</p>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"<tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows]
    return '<table border="1">\n' + "\n".join(lines) + "\n</table>"


def made(host: str, slug: str, kind: str, title: str, body: str, path: str = "") -> Page:
    rng = random.Random(host + slug)
    date = f"202{rng.randrange(3, 6)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
    return Page(host, slug, kind, "en", title, date, "admin", body, path)


def linkfarms() -> Iterator[Page]:
    for n in range(20):
        rng = random.Random(f"linkfarm {n}")
        topic = phrase(rng)
        links = [
            link(
                f"http://{phrase(rng).replace(' ', '-')}.example/{rng.randrange(999)}",
                f"{rng.choice(('cheap', 'best', 'top'))} {phrase(rng)}",
            )
            for _ in range(rng.randrange(200, 400))
        ]
        slug = f"{topic.replace(' ', '-')}-{n}"
        body = (" | ", "<br>\n", " ")[n % 3].join(links)
        yield made(f"best-links-{n % 4}.example", slug, "linkfarm", f"Top {topic} links", body)


def listing(host: str, shown: Sequence[Page], kind: str, title: str, path: str) -> Page:
    """A page of titles and teasers in the language of the pages it lists."""
    more = words_of(shown[0].lang)["more"]
    body = "\n".join(f"<h3>{link(p.url, p.title)}</h3>\n<p>{html.escape(teaser(p))} {link(p.url, more)}</p>" for p in shown)
    latest = max(page.date for page in shown)
    return Page(host, path.strip("/"), kind, shown[0].lang, title, latest, site_name(host), body, path)


def indexes(hosts: dict[str, list[Page]], limit: int) -> Iterator[Page]:
    """Archive, tag and author pages of the hosts with most pages."""
    forms = ("archive", "news", "guides")
    order = sorted(hosts, key=lambda host: (-len(hosts[host]), host))
    for n in range(limit):
        host, form = order[n % min(len(order), limit // len(forms))], forms[n * len(forms) // limit]
        pages = sorted(hosts[host], key=lambda p: (p.date, p.slug), reverse=True)
        shown = pages if form == "archive" else random.Random(host + form).sample(pages, (len(pages) + 1) // 2)
        title = f"{words_of(shown[0].lang)[form]}: {site_name(host)}"
        yield listing(host, shown, "index", title, f"/{form}/")


def pagination(hosts: dict[str, list[Page]], limit: int) -> Iterator[Page]:
    """Windows over one list that differ in an entry or two: near-duplicates."""
    order = sorted(hosts, key=lambda host: (-len(hosts[host]), host))[: limit // 4]
    for host in order:
        pages = sorted(hosts[host], key=lambda p: p.slug)
        for n in range(4):
            shown = (pages + pages)[n : n + 8]
            yield listing(host, shown, "pagination", words_of(shown[0].lang)["archive"], f"/list?page={n + 2}")


def products() -> Iterator[Page]:
    for n in range(15):
        rng = random.Random(f"products {n}")
        rows = [
            [
                f"{rng.randrange(10**5):05}",
                phrase(rng).title(),
                f"{rng.randrange(5, 900)}.{rng.randrange(10)}0",
                rng.choice(("In stock", "2 weeks", "Sold out")),
                link("/basket", "Add to basket"),
            ]
            for _ in range(30)
        ]
        group = rng.choice(NOUNS)
        body = f"<p>Sort by: {link('?s=p', 'price')} {link('?s=n', 'name')}</p>\n" + table(
            ("Item", "Name", "Price", "Delivery", ""), rows
        )
        yield made("pricelist.example", f"{group}-{n}", "products", f"{group.title()}s, page {n + 1}", body)


def calendars() -> Iterator[Page]:
    for n in range(8):
        month, name, rng = n + 1, calendar.month_name[n + 1], random.Random(f"calendar {n}")
        days = [f"<li>{rng.randrange(1, 28)} {name}: {phrase(rng)}</li>" for _ in range(3)]
        body = calendar.HTMLCalendar().formatmonth(2025, month) + f"<ul>{''.join(days)}</ul>"
        body += f"<p>{link(f'/2025/{month - 1}', 'Previous')} {link(f'/2025/{month + 1}', 'Next')}</p>"
        yield made("villagehall.example", f"2025-{month:02}", "calendar", f"Events in {name}", body)


def galleries_and_glossaries() -> Iterator[Page]:
    for n in range(9):
        rng = random.Random(f"tables {n}")
        if n < 3:
            body = "\n".join(
                f'<figure><img src="/i/{n}-{i}.jpg" alt="{phrase(rng)}">'
                f"<figcaption>{phrase(rng)}, photo {i}</figcaption></figure>"
                for i in range(24)
            )
            yield made("harbourphotos.example", f"album-{n}", "gallery", f"Album: {phrase(rng)}", body)
        else:
            rows = [[phrase(rng), re.sub("</?p>", "", paragraph(rng, 1)), rng.choice(NOUNS)] for _ in range(30)]
            body = table(("Term", "Meaning", "See also"), sorted(rows))
            yield made("termlist.example", f"terms-{n}", "glossary", f"Glossary, part {n - 2}", body)


def dumps() -> Iterator[Page]:
    for n in range(4):
        rng = random.Random(f"dump {n}")
        lines = [
            f"2025-03-1{n} {i // 60:02}:{i % 60:02}:07 host-{rng.randrange(9)} app[{rng.randrange(999)}]: status="
            f"{rng.choice((200, 304, 404))} bytes={rng.randrange(9999)}"
            for i in range(400)
        ]
        if n % 2:
            lines = [" ".join(f"{rng.random():.3f}" for _ in range(12)) for _ in range(150)]
        yield made("statuspage.example", f"dump-{n}", "dump", f"Dump {n}", "<pre>" + "\n".join(lines) + "</pre>")


def repeats() -> Iterator[Page]:
    for n in range(5):
        rng = random.Random(f"repeat {n}")
        block = paragraph(rng, 4 + 3 * n)
        body = "\n".join([block] * (30 + 20 * n))
        yield made("echohouse.example", f"repeat-{n}", "repeated", phrase(rng).title(), body)


def furniture() -> Iterator[Page]:
    """Found nothing, not found, please log in: pages that answer 200 and say nothing."""
    for n in range(12):
        rng = random.Random(f"furniture {n}")
        query = phrase(rng)
        title, body = (
            ("Page not found", "<p>Sorry, the page you are looking for does not exist or has been moved.</p>"),
            (f"Search results for “{query}”", f"<p>0 results for <b>{query}</b>. Try a different search.</p>"),
            ("Log in", '<form><input name="user"><input name="pass" type="password"><button>Log in</button></form>'),
        )[n % 3]
        yield made(("villagehall.example", "pricelist.example")[n % 2], f"f{n}", "furniture", title, body)


URL_WORDS = (
    ("casino-bonus-free-spins.example", "/welcome"),
    ("casino-bonus-free-spins.example", "/slots/jackpot"),
    ("xxx-hot-singles.example", "/tonight"),
    ("xxx-hot-singles.example", "/cams/live"),
    ("online-poker-betting.example", "/index"),
    ("villagehall.example", "/viagra-cheap-pills"),
    ("essex-rivers.example", "/sussex-to-essex"),
    ("essex-rivers.example", "/middlesex-cockpit-tour"),
)


def url_words() -> Iterator[Page]:
    """Harmless text under addresses that a URL word list drops, and under two that only look like it."""
    for host, path in URL_WORDS:
        rng = random.Random(host + path)
        body = "\n".join(paragraph(rng, 6) for _ in range(5))
        yield made(host, path.strip("/"), "url-words", phrase(rng).title(), body, path)


def made_up(pages: Sequence[Page]) -> list[Page]:
    """All generated pages, given the real ones that the indexes list."""
    hosts: dict[str, list[Page]] = {}
    for page in pages:
        hosts.setdefault(page.host, []).append(page)
    listed = {host: sorted(own, key=lambda p: p.slug) for host, own in hosts.items() if len(own) > 2}
    return [
        *linkfarms(),
        *indexes(listed, 30),
        *pagination(listed, 16),
        *products(),
        *calendars(),
        *galleries_and_glossaries(),
        *dumps(),
        *repeats(),
        *furniture(),
        *url_words(),
    ]
