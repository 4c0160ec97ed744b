"""Disjoint pools of which names are built: one for training, one for evaluation."""

from __future__ import annotations

TRAIN_WORDS = tuple(
    """
    pi edge node lab rack shed barn attic cellar garage kitchen office roof hall porch garden workshop greenhouse
    north south east west alpha beta delta omega sigma falcon heron osprey plover curlew swift robin wren finch
    anna bernd carla david emil frida georg hanna ivan jonas karin lukas maria nils oskar paula ralf sofia tom ute
    admin backup deploy monitor guest pilot operator runner builder keeper sensor gateway router switch bridge relay
    grafana gitea nextcloud jellyfin homeassistant wiki portal shop billing ledger orders stock events queue cache
    store index search mailer worker scheduler indexer crawler parser tracker reporter exporter importer loader
    camera doorbell heater boiler inverter charger meter valve motor conveyor welder printer scanner lathe
    iron copper silver cobalt nickel carbon helium argon neon amber coral indigo crimson olive maple cedar birch
    river lake harbor island canyon glacier meadow valley summit ridge
    mercury venus saturn titan europa orion vega
    tmp logs images media music photos invoices reports archive inbox outbox spool release nightly weekly
    python ruby perl node java lua curl openssl sqlite zlib ffmpeg vim tmux git rsync
    home main prod test stage demo core web api auth data base
    """.split()
)

HELD_WORDS = tuple(
    """
    loft dock pier quay mill forge tower bunker stable pantry veranda terrace silo depot annex chapel
    gamma kappa lambda theta zeta merlin kestrel avocet godwit sanderling whimbrel turnstone phalarope dotterel
    ingrid hugo klara viktor greta anton lena moritz selma tobias wilma yusuf zoe bruno edda fabian
    auditor curator courier warden steward janitor broker teller usher
    matomo vaultwarden immich paperless mealie navidrome zulip mattermost
    turbine compressor sprinkler thermostat elevator crane sorter kiln furnace
    bronze zinc titanium lithium xenon krypton scarlet violet turquoise ochre walnut willow hazel juniper
    delta2 fjord lagoon tundra plateau gorge estuary
    pluto callisto ganymede altair sirius
    drafts receipts ledgers manuals firmware mirror quarterly hourly
    golang erlang haskell nodejs wget gnutls redisearch libpng imagemagick emacs
    sandbox pilotline canary preview
    """.split()
)

TRAIN_SYLLABLES = tuple(
    """
    ba be bi bo bu da de di do du ka ke ki ko ku la le li lo lu ma me mi mo mu ra re ri ro ru sa se si so su
    ta te ti to tu bar bel bin bol dan der dis dor kan kel kir kor lan ler lin lor man mer mir mon ran rel ris
    sal sen sil sol tam ter tin tor bra bre dri dro kra kro sta ste sto tra tre tri ax ex ix on an en in or ar
    ast est ist ost sh ch th
    """.split()
)

HELD_SYLLABLES = tuple(
    """
    fa fe fi fo fu ga ge gi go gu na ne ni no nu pa pe pi po pu va ve vi vo vu wa we wi wo ya yo za ze zi zo
    fal fen fir fol gal gen gil gor nal nem nil nor pal pel pim por val ven vil vor wal wen wil wor
    fra fre gra gri pla pli gla glo ump unk eld olm arn ulf yx oz
    """.split()
)
