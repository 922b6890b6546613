"""Expected counts: the o200k vocabulary (PyPI bpe-openai 0.1.4, 2026-11) and 6 a request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.tokens import OVERHEAD_TOKENS, prompt_tokens

ENGLISH = {
    "a siamese cat": 10,
    "A red fox sleeping under an old oak tree in autumn, soft morning light": 21,
    "Three yellow bicycles leaning against a brick wall, watercolor": 16,
    "Portrait of an elderly fisherman with a grey beard, dramatic side lighting, 85mm lens, shallow depth of field": 29,
    "Isometric cutaway of a small bakery, flour on the counter, warm lamps, tiny figures, pastel palette, highly detailed": 31,
    "A minimalist logo for a river kayak club: two paddles crossing above a wave": 22,
    "low poly mountain landscape at sunset, purple sky": 15,
    "An astronaut playing chess with a penguin on the surface of the moon, cinematic, 4k, wide angle": 29,
    'A poster that says "OPEN DAY 2026" in bold red letters': 21,
    "Close-up macro photograph of a dew-covered spider web": 16,
    "Vintage travel poster of Lisbon with tram 28 climbing a hill": 18,
    "an empty subway station at 3 a.m., neon reflections on wet floor tiles": 22,
    "Cross-section of the earth showing crust, mantle and core, labelled, textbook illustration": 22,
    "Children's book illustration: a hedgehog mailing a letter, ink and gouache": 23,
    "hyperrealistic render of a glass teapot filled with blooming jasmine tea, studio lighting, octane render": 27,
}
OTHERS = {
    "一只在雪地里睡觉的红狐狸，水彩画": 21,  # noqa: RUF001 - the comma of that script
    "夕暮れの海辺で犬と遊ぶ少女、アニメ風": 22,
    "눈 덮인 산 위의 작은 오두막, 수채화": 21,
    "Рыжая лисица спит под старым дубом, мягкий утренний свет": 27,
    "ثعلب أحمر نائم تحت شجرة قديمة": 18,
    "बर्फ में सोती हुई लाल लोमड़ी": 16,
    "จิ้งจอกแดงนอนหลับใต้ต้นไม้": 19,
    "Ένας κόκκινος αλεπού κοιμάται κάτω από ένα δέντρο": 23,
    "שועל אדום ישן מתחת לעץ": 16,
    "Một con cáo đỏ đang ngủ dưới gốc cây sồi già": 19,
    "Ein schlafender Fuchs unter der alten Eiche, weiches Morgenlicht, Öl auf Leinwand": 27,
    "Un renard endormi sous un vieux chêne, lumière douce d'été": 22,
    "🦊🌲❄️ 🎨": 16,
    "ቀይ ቀበሮ በዛፍ ስር ተኝቷል": 38,
    "წითელი მელა ხის ქვეშ": 16,
    "Կարմիր աղվես ծառի տակ": 15,
    "சிவப்பு நரி மரத்தின் கீழ்": 15,
    "ചുവന്ന കുറുക്കൻ": 12,
    "ကြောင်နီ": 10,
    "កញ្ជ្រោងក្រហម": 14,
    "Zażółć gęślą jaźń": 17,
    "𒀀𒀁𒀂 𐍈𐍉": 27,
    "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ": 34,
    "ᐃᓄᒃᑎᑐᑦ": 23,
}


def test_english_prompts_are_counted_within_a_tenth_in_sum() -> None:
    assert sum(map(prompt_tokens, ENGLISH)) == pytest.approx(sum(ENGLISH.values()), rel=0.1)


def test_each_english_prompt_is_counted_within_a_third() -> None:
    assert {text: prompt_tokens(text) for text in ENGLISH} == pytest.approx(ENGLISH, rel=1 / 3)


@pytest.mark.parametrize(("text", "tokens"), OTHERS.items())
def test_other_scripts_are_never_counted_below_the_truth(text: str, tokens: int) -> None:
    assert tokens <= prompt_tokens(text) <= 4 * tokens


def test_nothing_costs_the_overhead_alone() -> None:
    assert prompt_tokens("") == prompt_tokens("   ") == OVERHEAD_TOKENS


@given(st.text(alphabet=st.characters()) | st.just("\ud800"), st.text())
def test_every_text_has_a_count_that_grows_with_it(text: str, more: str) -> None:
    count = prompt_tokens(text)
    assert type(count) is int
    assert OVERHEAD_TOKENS <= count <= OVERHEAD_TOKENS + 5 * len(text) + 1
    assert prompt_tokens(f"{text}\n{more}") >= count
